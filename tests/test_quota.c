/* SPDX-License-Identifier: Apache-2.0 */
/* Quotas of cgroups, read from made-up trees, and the default number of threads. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/topo.h"

/* ---------------------------------------------------------------- trees */

typedef struct file {
    const char *path, *text;
} file;

typedef struct tree {
    const char *name;
    double quota;
    file files[12];
} tree;

#define CGROUP   "/proc/self/cgroup"
#define MOUNTS   "/proc/self/mountinfo"
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT                                                                                                       \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                                                       \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:12 - cgroup cgroup rw,cpu,cpuacct\n"                   \
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
#define V1_LINE(path) "9:name=systemd:/x\n4:cpuset:/wrong\n2:cpu,cpuacct:" path "\n"
#define V1            "/sys/fs/cgroup/cpu,cpuacct"
#define V2            "/sys/fs/cgroup"

static const tree trees[] = {
    {"nothing at all", 0, {{NULL, NULL}}},
    {"no mounts", 0, {{CGROUP, "0::/a\n"}, {V2 "/a/cpu.max", "100000 100000\n"}}},
    {"no cgroup", 0, {{MOUNTS, V2_MOUNT}, {V2 "/cpu.max", "100000 100000\n"}}},
    {"v2", 2, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "200000 100000\n"}}},
    {"v2, half a processor", .5, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "50000 100000\n"}}},
    {"v2, odd period", 1.5, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "15000 10000"}}},
    {"v2, no limit", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "max 100000\n"}}},
    {"v2, root of a container", 3, {{CGROUP, "0::/\n"}, {MOUNTS, V2_MOUNT}, {V2 "/cpu.max", "300000 100000\n"}}},
    {"v2, nested, the parent has less",
     1.25,
     {{CGROUP, "0::/a/b/c\n"},
      {MOUNTS, V2_MOUNT},
      {V2 "/a/cpu.max", "125000 100000\n"},
      {V2 "/a/b/cpu.max", "max 100000\n"},
      {V2 "/a/b/c/cpu.max", "400000 100000\n"}}},
    {"v2, nested, the child has less",
     .75,
     {{CGROUP, "0::/a/b\n"},
      {MOUNTS, V2_MOUNT},
      {V2 "/cpu.max", "800000 100000\n"},
      {V2 "/a/cpu.max", "400000 100000\n"},
      {V2 "/a/b/cpu.max", "75000 100000\n"}}},
    {"v2, the group has no file of its own",
     4,
     {{CGROUP, "0::/a/gone (deleted)\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "400000 100000\n"}}},
    {"v2, siblings do not count",
     0,
     {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/ab/cpu.max", "1000 100000\n"}, {V2 "/b/cpu.max", "1 100000\n"}}},
    {"v2, mounted below its root",
     2,
     {{CGROUP, "0::/kube/pod/box\n"},
      {MOUNTS, "30 23 0:26 /kube/pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
      {V2 "/box/cpu.max", "200000 100000\n"},
      {V2 "/kube/pod/box/cpu.max", "1 100000\n"}}},
    {"v2, the mount is the group",
     2,
     {{CGROUP, "0::/kube/pod\n"},
      {MOUNTS, "30 23 0:26 /kube/pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
      {V2 "/cpu.max", "200000 100000\n"}}},
    {"v2, the mount's root is another group with the same beginning",
     3,
     {{CGROUP, "0::/kube/pod2\n"},
      {MOUNTS, "30 23 0:26 /kube/pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
      {V2 "/cpu.max", "300000 100000\n"},
      {V2 "2/cpu.max", "1 100000\n"}}},
    {"v2, group outside the namespace",
     6,
     {{CGROUP, "0::/../other\n"}, {MOUNTS, V2_MOUNT}, {V2 "/cpu.max", "600000 100000\n"}}},
    {"v2, mount point and group with a space, group with a colon",
     2,
     {{CGROUP, "0::/my group:1\n"},
      {MOUNTS, "30 23 0:26 / /mnt/c\\040groups rw - cgroup2 cgroup2 rw\n"},
      {"/mnt/c groups/my group:1/cpu.max", "200000 100000\n"}}},
    {"v1",
     2.5,
     {{CGROUP, V1_LINE("/a")},
      {MOUNTS, V1_MOUNT},
      {V1 "/a/cpu.cfs_quota_us", "250000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, no limit",
     0,
     {{CGROUP, V1_LINE("/a")},
      {MOUNTS, V1_MOUNT},
      {V1 "/a/cpu.cfs_quota_us", "-1\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"v1, no period", 0, {{CGROUP, V1_LINE("/a")}, {MOUNTS, V1_MOUNT}, {V1 "/a/cpu.cfs_quota_us", "100000\n"}}},
    {"v1, period of zero",
     0,
     {{CGROUP, V1_LINE("/a")},
      {MOUNTS, V1_MOUNT},
      {V1 "/a/cpu.cfs_quota_us", "100000\n"},
      {V1 "/a/cpu.cfs_period_us", "0\n"}}},
    {"v1, nested",
     1,
     {{CGROUP, V1_LINE("/a/b")},
      {MOUNTS, V1_MOUNT},
      {V1 "/cpu.cfs_quota_us", "-1\n"},
      {V1 "/cpu.cfs_period_us", "100000\n"},
      {V1 "/a/cpu.cfs_quota_us", "20000\n"},
      {V1 "/a/cpu.cfs_period_us", "20000\n"},
      {V1 "/a/b/cpu.cfs_quota_us", "300000\n"},
      {V1 "/a/b/cpu.cfs_period_us", "100000\n"}}},
    {"v1, container that sees the host's path",
     .5,
     {{CGROUP, V1_LINE("/docker/0123")},
      {MOUNTS, "32 31 0:29 /docker/0123 /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n"},
      {V1 "/cpu.cfs_quota_us", "50000\n"},
      {V1 "/cpu.cfs_period_us", "100000\n"}}},
    {"hybrid, v1 has the controller",
     2,
     {{CGROUP, V1_LINE("/a") "0::/u\n"},
      {MOUNTS, V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {V1 "/a/cpu.cfs_quota_us", "200000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"}}},
    {"hybrid, both limit",
     1,
     {{CGROUP, V1_LINE("/a") "0::/u\n"},
      {MOUNTS, V1_MOUNT "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {V1 "/a/cpu.cfs_quota_us", "200000\n"},
      {V1 "/a/cpu.cfs_period_us", "100000\n"},
      {"/sys/fs/cgroup/unified/u/cpu.max", "100000 100000\n"}}},
    {"garbage in cpu.max", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "lots of it\n"}}},
    {"empty cpu.max", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", ""}}},
    {"cpu.max of one word", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "100000\n"}}},
    {"cpu.max with words after it", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "1 2 3\n"}}},
    {"negative cpu.max", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "-100000 100000\n"}}},
    {"cpu.max of zero", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "0 100000\n"}}},
    {"period of zero", 0, {{CGROUP, "0::/a\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/cpu.max", "100000 0\n"}}},
    {"garbage in the child, a limit above",
     2,
     {{CGROUP, "0::/a/b\n"}, {MOUNTS, V2_MOUNT}, {V2 "/a/b/cpu.max", "?\n"}, {V2 "/a/cpu.max", "200000 100000\n"}}},
    {"garbage in cgroup", 0, {{CGROUP, "\n:\n::\n0:\n0::\n0::a\n:::::\n"}, {MOUNTS, V2_MOUNT}}},
    {"garbage in mountinfo",
     2,
     {{CGROUP, "0::/a\n"},
      {MOUNTS, "\n - \n - cgroup2\n1 2 3 - cgroup2 x y\n1 2 3 4 - cgroup cgroup cpu\n\\ \\777 \\0 - - -\n" V2_MOUNT},
      {V2 "/a/cpu.max", "200000 100000\n"}}},
};

static char root[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static void write_file(const file *file) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, file->path);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0700);
    }
    FILE *out = fopen(path, "w");
    cr_assert_not_null(out, "cannot write %s", path);
    fputs(file->text, out);
    cr_assert_eq(fclose(out), 0);
}

Test(quota, reads_made_up_trees) {
    cr_assert_eq(sizeof trees / sizeof *trees, 35, "%zu trees", sizeof trees / sizeof *trees);
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        strcpy(root, P_tmpdir "/attentile-quota-XXXXXX");
        cr_assert_not_null(mkdtemp(root));
        for (const file *file = trees[i].files; file->path != NULL; file++)
            write_file(file);
        double quota = atl_cgroup_quota(root);
        nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        cr_expect_eq(quota, trees[i].quota, "%s: expected %g, got %g", trees[i].name, trees[i].quota, quota);
    }
}

Test(quota, of_this_process_is_no_less_than_nothing) {
    double quota = atl_cgroup_quota("");
    cr_assert(quota >= 0 && quota < 1e9, "got %g", quota);
}

/* ---------------------------------------------------------------- default number of threads */

static int default_without_environment(void) {
    double quota = atl_cgroup_quota("");
    int available = atl_processors_available();
    while (quota > 0 && available > 1 && available - 1 >= quota)
        available--;
    return available;
}

static void set(const char *name, const char *value) {
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

Test(default_threads, follow_the_environment) {
    enum { UNSET = -1 };
    static const struct {
        const char *attentile, *openmp;
        int expected;
    } cases[] = {
        {NULL, NULL, UNSET}, {"1", NULL, 1},      {"7", NULL, 7},       {"1024", NULL, 1024},
        {"007", NULL, 7},    {"3", "5", 3},       {NULL, "5", 5},       {NULL, "4,2", 4},
        {NULL, " 6 , 2", 6}, {NULL, "1", 1},      {NULL, "5000", 1024}, {NULL, "99999999999", 1024},
        {NULL, "", UNSET},   {NULL, "0", UNSET},  {NULL, "-3", UNSET},  {NULL, "x", UNSET},
        {NULL, "4x", UNSET}, {NULL, ",4", UNSET}, {NULL, "4 2", UNSET}, {NULL, "+4", UNSET},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int threads = 0, expected = cases[i].expected == UNSET ? default_without_environment() : cases[i].expected;
        atl_error error = {0};
        set("ATTENTILE_NUM_THREADS", cases[i].attentile);
        set("OMP_NUM_THREADS", cases[i].openmp);
        cr_assert_eq(atl_default_threads(&threads, &error), ATL_OK, "case %zu: %s", i, error.message);
        cr_expect_eq(threads, expected, "ATTENTILE_NUM_THREADS=%s OMP_NUM_THREADS=%s: expected %d, got %d",
                     cases[i].attentile ? cases[i].attentile : "(unset)", cases[i].openmp ? cases[i].openmp : "(unset)",
                     expected, threads);
    }
}

Test(default_threads, refuse_wrong_values) {
    static const char *const values[] = {"",
                                         "0",
                                         "-1",
                                         "+1",
                                         "1025",
                                         "4.0",
                                         "4,2",
                                         " 4",
                                         "4 ",
                                         "four",
                                         "0x4",
                                         "4294967297",
                                         "18446744073709551617",
                                         "1e2",
                                         "\xc2\xa0"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int threads = -7;
        atl_error error = {0};
        setenv("ATTENTILE_NUM_THREADS", values[i], 1);
        atl_status status = atl_default_threads(&threads, &error);
        cr_expect_eq(status, ATL_INVALID_ARGUMENT, "\"%s\": status %d, %d threads", values[i], status, threads);
        cr_expect_eq(threads, -7, "\"%s\": the output has changed to %d", values[i], threads);
        cr_expect(strstr(error.message, "ATTENTILE_NUM_THREADS") && strstr(error.message, "1024") &&
                      strstr(error.message, values[i]),
                  "\"%s\": message \"%s\"", values[i], error.message);
    }
}

Test(default_threads, keep_to_the_affinity_mask) {
    cpu_set_t all, one;
    int threads = 0;
    CPU_ZERO(&one);
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    unsetenv("ATTENTILE_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
    cr_assert_eq(atl_default_threads(&threads, NULL), ATL_OK);
    cr_assert_eq(threads, 1, "%d threads on one processor", threads);
}
