/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATTENTILE_TOOLS_INFO_H
#define ATTENTILE_TOOLS_INFO_H

/* `attentile info FILE`: what a checkpoint holds. */
int info_checkpoint(const char *path, int as_json);

#endif
