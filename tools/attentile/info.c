/* SPDX-License-Identifier: Apache-2.0 */
/* `attentile info`: the library and the machine as the engine sees them. */
#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "info.h"
#include "json.h"

enum { INFO_THREADS, INFO_JSON, INFO_OPTION_COUNT };

static json_t *machine_json(const atl_engine_info *info) {
    json_t *machine = json_object();
    json_put(machine, "cpu", json_string(info->cpu));
    json_put(machine, "packages", json_count(info->packages));
    json_put(machine, "numa_nodes", json_count(info->numa_nodes));
    json_put(machine, "cores", json_count(info->cores));
    json_put(machine, "processors", json_count(info->processors));
    json_put(machine, "processors_available", json_integer(info->processors_available));
    json_put(machine, "quota", json_known(info->quota));
    json_put(machine, "l1d_bytes", json_count(info->l1d_bytes));
    json_put(machine, "l2_bytes", json_count(info->l2_bytes));
    json_put(machine, "l3_bytes", json_count(info->l3_bytes));
    return machine;
}

static int print_json(const atl_engine *engine, const atl_engine_info *info) {
    json_t *root = json_object(), *kinds = json_array(), *kernels = json_object();
    const char *slot, *implementation;
    for (int i = 0; atl_kind_name(i); i++)
        json_add(kinds, json_string(atl_kind_name(i)));
    for (int i = 0; atl_engine_kernel(engine, i, &slot, &implementation); i++)
        json_put(kernels, slot, json_string(implementation));
    json_put(root, "version", json_string(atl_version()));
    json_put(root, "abi", json_integer(ATL_ABI_VERSION));
    json_put(root, "isa", json_string(info->isa));
    json_put(root, "isa_found", json_string(info->isa_found));
    json_put(root, "threads", json_integer(info->threads));
    json_put(root, "threads_requested", json_integer(info->threads_requested));
    json_put(root, "machine", machine_json(info));
    json_put(root, "kinds", kinds);
    json_put(root, "kernels", kernels);
    return json_print(root);
}

static void print_count(const char *what, int count) {
    printf("  %-22s ", what);
    if (count > 0)
        printf("%d\n", count);
    else
        printf("unknown\n");
}

static void print_cache(const char *what, int64_t bytes) {
    printf("  %-22s ", what);
    if (bytes > 0)
        printf("%" PRId64 " KiB\n", bytes / 1024);
    else
        printf("unknown\n");
}

static void print_machine(const atl_engine_info *info) {
    printf("machine\n");
    printf("  %-22s ", "processor");
    print_text(info->cpu);
    printf("\n");
    print_count("packages", info->packages);
    print_count("NUMA nodes", info->numa_nodes);
    print_count("cores", info->cores);
    print_count("processors", info->processors);
    print_count("processors available", info->processors_available);
    printf("  %-22s ", "cgroup quota");
    if (info->quota > 0)
        printf("%.2f processors\n", info->quota);
    else
        printf("none\n");
    print_cache("L1 data cache", info->l1d_bytes);
    print_cache("L2 cache", info->l2_bytes);
    print_cache("L3 cache", info->l3_bytes);
}

static int print_words(const atl_engine *engine, const atl_engine_info *info) {
    const char *slot, *implementation;
    printf("attentile %s (ABI %d)\n", atl_version(), ATL_ABI_VERSION);
    printf("  %-22s %s (found: %s)\n", "instruction set", info->isa, info->isa_found);
    printf("  %-22s %d threads", "team", info->threads);
    if (info->threads != info->threads_requested)
        printf(" (requested: %d)", info->threads_requested);
    printf("\n");
    print_machine(info);
    printf("kinds of layer\n");
    for (int i = 0; atl_kind_name(i); i++)
        printf("  %s\n", atl_kind_name(i));
    printf("kernels\n");
    for (int i = 0; atl_engine_kernel(engine, i, &slot, &implementation); i++)
        printf("  %-22s %s\n", slot, implementation);
    return DONE;
}

static int info_main(const arguments *arguments) {
    const int as_json = argument_value(arguments, INFO_JSON) != NULL;
    int64_t threads = 0;
    int code = argument_int(arguments, INFO_THREADS, 1, 1024, &threads);
    if (code != DONE)
        return code;
    if (arguments->operand_count == 1 && threads > 0)
        return wrong_usage("info: --threads concerns the engine, not a checkpoint");
    if (arguments->operand_count == 1)
        return info_checkpoint(arguments->operands[0], as_json);
    atl_engine *engine = NULL;
    atl_engine_info info;
    code = engine_open((int)threads, &engine, &info);
    if (code == DONE)
        code = as_json ? print_json(engine, &info) : print_words(engine, &info);
    atl_engine_release(engine);
    return code;
}

static const option_spec options[INFO_OPTION_COUNT] = {
    [INFO_THREADS] = {"threads", "T", 0, "Asks for a team of T threads, 1 to 1024, to see what the system grants."},
    [INFO_JSON] = {"json", NULL, 0, "Prints JSON."},
};

const command_spec info_command = {
    .name = "info",
    .summary = "Show library, machine and kernels, or what a checkpoint holds.",
    .operands = "[FILE.safetensors]",
    .operands_max = 1,
    .options = options,
    .option_count = INFO_OPTION_COUNT,
    .details = "Without a file: the library's version, the instruction set found and used, the kernel in each slot,\n"
               "topology, caches, cgroup quota and team. With one: its tensors, its metadata and the layers that are\n"
               "recognised in it, with the prefix that `attentile run --prefix` takes.\n",
    .examples = "  attentile info\n"
                "  ATTENTILE_MAX_ISA=avx2 attentile info --json\n"
                "  attentile info net.safetensors\n",
    .run = info_main,
};
