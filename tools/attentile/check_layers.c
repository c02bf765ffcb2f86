/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of the build, against the float64 oracle and on every instruction set and thread count against itself. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "check.h"
#include "json.h"
#include "layer_check.h"

static json_t *report_json(const char *kind, const layer_report *report) {
    char digest[32];
    json_t *root = json_object();
    snprintf(digest, sizeof digest, "%016" PRIx64, report->digest);
    json_put(root, "layer", json_string(kind));
    json_put(root, "shapes", json_integer(report->shapes));
    json_put(root, "failed_shapes", json_integer(report->failed_shapes));
    json_put(root, "comparisons", json_integer(report->comparisons));
    json_put(root, "error_share", isfinite(report->share) ? json_real(report->share) : json_null());
    json_put(root, "largest_at", json_string(report->where));
    json_put(root, "digest", json_string(digest));
    json_put(root, "first_failure", report->failed_shapes ? json_string(report->first) : json_null());
    return root;
}

static void report_text(const char *kind, const layer_report *report) {
    printf("  %-24s %4ld shapes %7ld comparisons  %016" PRIx64 "  %.3f of the error bound (%s)%s\n", kind,
           report->shapes, report->comparisons, report->digest, report->share, report->where,
           report->failed_shapes ? "  FAILED" : "");
    if (report->failed_shapes)
        printf("    %ld shapes failed: %s\n", report->failed_shapes, report->first);
}

static void print_head(const layer_engines *engines) {
    printf("layers: against float64, and the same bits on");
    for (int i = 0; i < engines->count; i++)
        printf("%s %s x %d", i ? "," : "", engines->infos[i].isa, engines->infos[i].threads);
    printf(" threads;\n  number of comparisons, digest of the results, largest share of the error bound\n");
}

/* The names of what the machine has up to the limit, scalar first. */
static void ladder(atl_isa limit, const char *isas[ATL_ISA_COUNT + 1]) {
    int count = 0;
    for (int isa = 0; isa < ATL_ISA_COUNT; isa++)
        if (atl_isa_includes(limit, (atl_isa)isa))
            isas[count++] = atl_isa_name((atl_isa)isa);
    isas[count] = NULL;
}

int check_layers(check_job *job) {
    const char *isas[ATL_ISA_COUNT + 1];
    layer_engines engines;
    atl_error error;
    int checked = 0;
    ladder(job->limit, isas);
    if (layer_engines_open(isas, &engines, &error) != ATL_OK)
        return failed("%s", error.message);
    json_t *list = job->json ? json_array() : NULL;
    if (!list)
        print_head(&engines);
    for (const char *kind; (kind = atl_kind_name(checked)); checked++) {
        layer_report report;
        progress("%s", kind);
        layer_check(&engines, kind, job->small, &report);
        progress_clear();
        const long lacking = report.failed_shapes > report.shapes ? report.failed_shapes - report.shapes : 0;
        check_count(job, report.shapes - report.failed_shapes + lacking, report.failed_shapes);
        if (list)
            json_add(list, report_json(kind, &report));
        else
            report_text(kind, &report);
        fflush(stdout);
    }
    layer_engines_close(&engines);
    if (list)
        json_put(job->json, "layers", list);
    return checked ? DONE : failed("check: no layer was checked");
}
