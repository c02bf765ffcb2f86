/* SPDX-License-Identifier: Apache-2.0 */
/* How many processors this process may use: the cgroup's quota and the default team size. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "pool.h"
#include "topo.h"

/* ---------------------------------------------------------------- quotas of one cgroup */

/* The first line of DIRECTORY/NAME without its newline, or an empty one. */
static void read_line(char *line, int capacity, const char *directory, const char *name) {
    char *path = NULL;
    line[0] = '\0';
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return;
    FILE *file = fopen(path, "re");
    free(path);
    if (file == NULL)
        return;
    if (fgets(line, capacity, file) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

/* A positive decimal integer at *text, which moves past it; 0 = there is none. */
static double parse_positive(const char **text) {
    double value = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++)
        value = 10 * value + (**text - '0');
    return value;
}

/* Processors that a v2 cgroup grants, 0 = no limit: cpu.max holds "max PERIOD" or "QUOTA PERIOD". */
static double quota_v2(const char *directory) {
    char line[128];
    read_line(line, sizeof line, directory, "cpu.max");
    const char *at = line;
    double quota = parse_positive(&at);
    if (quota == 0 || *at++ != ' ')
        return 0;
    double period = parse_positive(&at);
    return period > 0 && *at == '\0' ? quota / period : 0;
}

/* The same of a v1 cgroup: the quota is -1 where there is no limit. */
static double quota_v1(const char *directory) {
    char line[128];
    read_line(line, sizeof line, directory, "cpu.cfs_quota_us");
    const char *at = line;
    double quota = parse_positive(&at);
    if (quota == 0 || *at != '\0')
        return 0;
    read_line(line, sizeof line, directory, "cpu.cfs_period_us");
    at = line;
    double period = parse_positive(&at);
    return period > 0 && *at == '\0' ? quota / period : 0;
}

/* ---------------------------------------------------------------- where the cgroups are */

typedef struct cgroup_mount {
    char *root;  /* the cgroup that the mount shows, as /proc/self/cgroup would write it */
    char *point; /* where it shows it */
    int version; /* 1 = the cpu controller of v1, 2 = v2, 0 = neither */
} cgroup_mount;

/* Whether a comma-separated list holds the word. */
static int list_has(const char *list, const char *word) {
    size_t length = strlen(word);
    for (;;) {
        size_t item = strcspn(list, ",\n ");
        if (item == length && memcmp(list, word, length) == 0)
            return 1;
        if (list[item] != ',')
            return 0;
        list += item + 1;
    }
}

/* Undoes mountinfo's escapes, a backslash and three octal digits, in place. */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        unsigned code;
        if (*from == '\\' && sscanf(from + 1, "%3o", &code) == 1 && strspn(from + 1, "01234567") >= 3) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Reads a line of mountinfo (cutting it up): "id parent major:minor root point options [optional...] - type source
 * super". The strings of *mount point into the line. */
static cgroup_mount parse_mount(char *line) {
    cgroup_mount mount = {.version = 0};
    char *tail = strstr(line, " - "), *rest = NULL;
    if (tail == NULL)
        return mount;
    *tail = '\0';
    const char *type = strtok_r(tail + 3, " \n", &rest), *source = strtok_r(NULL, " \n", &rest);
    const char *super = source != NULL ? strtok_r(NULL, " \n", &rest) : NULL;
    char *field = strtok_r(line, " ", &rest);
    for (int i = 0; i < 4 && field != NULL; i++) {
        field = strtok_r(NULL, " ", &rest);
        if (i == 2)
            mount.root = field;
    }
    mount.point = field;
    if (type == NULL || mount.root == NULL || mount.point == NULL)
        return mount;
    unescape(mount.root);
    unescape(mount.point);
    if (strcmp(type, "cgroup2") == 0)
        mount.version = 2;
    else if (strcmp(type, "cgroup") == 0 && super != NULL && list_has(super, "cpu"))
        mount.version = 1;
    return mount;
}

/* Opens ROOT/proc/self/NAME. */
static FILE *open_proc(const char *root, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/proc/self/%s", root, name) < 0)
        return NULL;
    FILE *file = fopen(path, "re");
    free(path);
    return file;
}

/* This process's cgroup of the version, allocated, or NULL. Lines are "id:controllers:path"; v2 has no controllers. */
static char *own_cgroup(const char *root, int version) {
    FILE *file = open_proc(root, "cgroup");
    char *line = NULL, *found = NULL;
    size_t capacity = 0;
    while (file != NULL && found == NULL && getline(&line, &capacity, file) > 0) {
        char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL || path[1] != '/')
            continue;
        *controllers++ = *path++ = '\0';
        if (version == 2 ? *controllers == '\0' : list_has(controllers, "cpu")) {
            path[strcspn(path, "\n")] = '\0';
            found = strdup(path);
        }
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

/* ---------------------------------------------------------------- the least over a cgroup and its ancestors */

/* The part of the cgroup's path below the mount's root. Empty where the mount does not show the cgroup (a container
 * that sees its own cgroup as the mount, with the host's path in /proc). */
static const char *below_root(const char *cgroup, const char *root) {
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(cgroup, root, length) != 0 || (cgroup[length] != '/' && cgroup[length] != '\0'))
        return "";
    return strstr(cgroup, "/..") != NULL ? "" : cgroup + length;
}

static double mount_quota(const char *root, const cgroup_mount *mount, const char *cgroup) {
    char *directory = NULL;
    double least = 0;
    if (asprintf(&directory, "%s%s%s", root, mount->point, below_root(cgroup, mount->root)) < 0)
        return 0;
    size_t stop = strlen(root) + strlen(mount->point);
    for (char *end = directory + strlen(directory); end != NULL;) {
        *end = '\0';
        double quota = mount->version == 2 ? quota_v2(directory) : quota_v1(directory);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
        end = strrchr(directory, '/');
        if (end != NULL && (size_t)(end - directory) < stop)
            end = NULL;
    }
    free(directory);
    return least;
}

double atl_cgroup_quota(const char *root) {
    FILE *file = open_proc(root, "mountinfo");
    if (file == NULL)
        return 0;
    char *cgroups[] = {NULL, own_cgroup(root, 1), own_cgroup(root, 2)};
    char *line = NULL;
    size_t capacity = 0;
    double least = 0;
    while (getline(&line, &capacity, file) > 0) {
        cgroup_mount mount = parse_mount(line);
        if (mount.version == 0 || cgroups[mount.version] == NULL)
            continue;
        double quota = mount_quota(root, &mount, cgroups[mount.version]);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
    }
    free(line);
    free(cgroups[1]);
    free(cgroups[2]);
    fclose(file);
    return least;
}

/* ---------------------------------------------------------------- default team size */

/* A decimal integer at the start of `text`, at most `limit` (larger ones become limit + 1); 0 = there is none. */
static int parse_threads(const char *text, int limit, const char **end) {
    int value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value > limit ? value : 10 * value + (*text - '0');
    *end = text;
    return value > limit ? limit + 1 : value;
}

/* The first number of OMP_NUM_THREADS, a list such as "4,2"; 0 = unset or not valid. */
static int openmp_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS"), *end;
    if (text == NULL)
        return 0;
    int threads = parse_threads(text + strspn(text, " \t"), ATL_MAX_THREADS, &end);
    end += strspn(end, " \t");
    if (threads == 0 || (*end != '\0' && *end != ','))
        return 0;
    return threads > ATL_MAX_THREADS ? ATL_MAX_THREADS : threads;
}

atl_status atl_default_threads(int *threads, atl_error *error) {
    const char *text = getenv("ATTENTILE_NUM_THREADS"), *end;
    if (text != NULL) {
        int asked = parse_threads(text, ATL_MAX_THREADS, &end);
        if (asked == 0 || asked > ATL_MAX_THREADS || *end != '\0')
            return atl_fail(error, ATL_INVALID_ARGUMENT,
                            "ATTENTILE_NUM_THREADS: no thread count (expected an integer from 1 to %d, got '%s')",
                            (int)ATL_MAX_THREADS, text);
        *threads = asked;
        return ATL_OK;
    }
    int chosen = openmp_threads();
    if (chosen == 0) {
        double quota = atl_cgroup_quota("");
        chosen = atl_processors_available();
        if (quota > 0 && ceil(quota) < chosen)
            chosen = (int)ceil(quota);
        if (chosen > ATL_MAX_THREADS)
            chosen = ATL_MAX_THREADS;
    }
    *threads = chosen;
    return ATL_OK;
}
