/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "image.h"

#define MAX_PIXELS 100000000

int image_allocate(image *picture, int64_t width, int64_t height, const char *path) {
    if (width < 1 || height < 1 || width > MAX_PIXELS || height > MAX_PIXELS || width * height > MAX_PIXELS)
        return failed("%s: picture too large (expected at most %d pixels, got %" PRId64 "x%" PRId64 ")", path,
                      MAX_PIXELS, width, height);
    picture->rgb = malloc((size_t)(width * height) * 3);
    if (!picture->rgb)
        return failed("%s: not enough memory for %" PRId64 "x%" PRId64 " pixels", path, width, height);
    picture->width = (int)width;
    picture->height = (int)height;
    return DONE;
}

/* Opens a regular file without waiting for a pipe's writer. NULL with errno set. */
static FILE *open_regular(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (fd < 0)
        return NULL;
    FILE *file = NULL;
    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode))
        errno = S_ISDIR(status.st_mode) ? EISDIR : ESPIPE;
    else
        file = fdopen(fd, "rb");
    if (!file)
        close(fd);
    return file;
}

int image_read(const char *path, image *picture) {
    static const uint8_t png[] = {137, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff};
    *picture = (image){0};
    FILE *file = open_regular(path);
    if (!file && errno == ESPIPE)
        return failed("%s: not a regular file", path);
    if (!file)
        return failed("%s: %s", path, strerror(errno));
    uint8_t magic[4] = {0};
    const size_t size = fread(magic, 1, sizeof magic, file);
    rewind(file);
    int code;
    if (size == sizeof magic && memcmp(magic, png, sizeof png) == 0)
        code = image_read_png(file, path, picture);
    else if (size == sizeof magic && memcmp(magic, jpeg, sizeof jpeg) == 0)
        code = image_read_jpeg(file, path, picture);
    else
        code = failed("%s: not a picture that can be read (expected PNG or JPEG)", path);
    fclose(file);
    if (code != DONE) {
        free(picture->rgb);
        *picture = (image){0};
    }
    return code;
}
