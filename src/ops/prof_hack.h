#include <stdatomic.h>
#include <x86intrin.h>
extern _Atomic long long hack_t[32], hack_f[32]; extern const char *hack_n[32];
#define HACK(i,name,flops,stmt) do { unsigned long long t_=__rdtsc(); stmt; hack_n[i]=name; atomic_fetch_add_explicit(&hack_t[i],__rdtsc()-t_,memory_order_relaxed); atomic_fetch_add_explicit(&hack_f[i],(long long)(flops),memory_order_relaxed);} while(0)
