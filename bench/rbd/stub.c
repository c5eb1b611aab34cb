/* librados.so.2 and librbd.so.1 without a cluster, for bench/run-rbd: one image of SIZE bytes whose
 * requests are done at once. Like the real libraries, it puts them into a queue, and ends them on a
 * thread of its own; unlike them, it touches no data.
 *
 * All that Sluice, QEMU and fio look up is here. What a benchmark never calls fails with ENOSYS. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (256ull << 20)
#define OBJECT_BYTES (4ull << 20)
#define OBJECT_ORDER 22

#define ABSENT(name)                       \
  long absent_##name(void) __asm__(#name); \
  long absent_##name(void) { return -ENOSYS; }

struct call {
  rbd_callback_t callback;
  void* argument;
  long result;
  int users; /* the client, and the queue */
  struct call* next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all but `begun` */
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static struct call *first, **last = &first;
static struct call *ended, **last_ended = &ended; /* for rbd_poll_io_events() */
static int event = -1;
static pthread_once_t begun = PTHREAD_ONCE_INIT;

static void drop(struct call* call) {
  if (__atomic_sub_fetch(&call->users, 1, __ATOMIC_ACQ_REL) == 0) free(call);
}

static void note_for_poll(struct call* call) {
  const unsigned long one = 1;
  pthread_mutex_lock(&mutex);
  call->next = NULL;
  *last_ended = call;
  last_ended = &call->next;
  pthread_mutex_unlock(&mutex);
  if (write(event, &one, sizeof(one)) < 0) abort();
}

static void* end_calls(void* nothing) {
  while (1) {
    pthread_mutex_lock(&mutex);
    while (first == NULL) pthread_cond_wait(&filled, &mutex);
    struct call* call = first;
    first = NULL;
    last = &first;
    pthread_mutex_unlock(&mutex);
    while (call != NULL) {
      struct call* const next = call->next;
      const int polled = event >= 0;
      call->callback(call, call->argument);
      if (polled)
        note_for_poll(call);
      else
        drop(call);
      call = next;
    }
  }
  return nothing;
}

static void begin_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, end_calls, NULL) != 0) abort();
  pthread_detach(thread);
}

static int put(rbd_completion_t completion, long result) {
  struct call* const call = completion;
  pthread_once(&begun, begin_thread);
  call->result = result;
  call->next = NULL;
  pthread_mutex_lock(&mutex);
  *last = call;
  last = &call->next;
  pthread_cond_signal(&filled);
  pthread_mutex_unlock(&mutex);
  return 0;
}

static long bytes_of(const struct iovec* parts, int count) {
  long bytes = 0;
  for (int i = 0; i < count; ++i) bytes += (long)parts[i].iov_len;
  return bytes;
}

/* --- Requests */

int rbd_aio_create_completion(void* argument, rbd_callback_t callback, rbd_completion_t* made) {
  struct call* const call = calloc(1, sizeof(*call));
  if (call == NULL) return -ENOMEM;
  call->callback = callback;
  call->argument = argument;
  call->users = 2;
  *made = call;
  return 0;
}
void rbd_aio_release(rbd_completion_t completion) { drop(completion); }
ssize_t rbd_aio_get_return_value(rbd_completion_t completion) {
  return ((struct call*)completion)->result;
}
void* rbd_aio_get_arg(rbd_completion_t completion) { return ((struct call*)completion)->argument; }
int rbd_aio_read(rbd_image_t image, uint64_t offset, size_t bytes, char* memory,
                 rbd_completion_t completion) {
  return put(completion, (long)bytes);
}
int rbd_aio_readv(rbd_image_t image, const struct iovec* parts, int count, uint64_t offset,
                  rbd_completion_t completion) {
  return put(completion, bytes_of(parts, count));
}
int rbd_aio_write(rbd_image_t image, uint64_t offset, size_t bytes, const char* memory,
                  rbd_completion_t completion) {
  return put(completion, 0);
}
int rbd_aio_writev(rbd_image_t image, const struct iovec* parts, int count, uint64_t offset,
                   rbd_completion_t completion) {
  return put(completion, 0);
}
int rbd_aio_discard(rbd_image_t image, uint64_t offset, uint64_t bytes,
                    rbd_completion_t completion) {
  return put(completion, 0);
}
int rbd_aio_write_zeroes(rbd_image_t image, uint64_t offset, size_t bytes,
                         rbd_completion_t completion, int flags, int operation) {
  return put(completion, 0);
}
int rbd_aio_flush(rbd_image_t image, rbd_completion_t completion) { return put(completion, 0); }

int rbd_set_image_notification(rbd_image_t image, int descriptor, int type) {
  event = descriptor;
  return 0;
}
int rbd_poll_io_events(rbd_image_t image, rbd_completion_t* found, int most) {
  int count = 0;
  pthread_mutex_lock(&mutex);
  for (; count < most && ended != NULL; ++count) {
    struct call* const call = ended;
    ended = call->next;
    if (ended == NULL) last_ended = &ended;
    found[count] = call;
    drop(call); /* the client has it still */
  }
  pthread_mutex_unlock(&mutex);
  return count;
}

/* --- The image */

int rbd_open(rados_ioctx_t pool, const char* name, rbd_image_t* image, const char* snapshot) {
  *image = &mutex;
  return 0;
}
int rbd_open_read_only(rados_ioctx_t pool, const char* name, rbd_image_t* image,
                       const char* snapshot) {
  return rbd_open(pool, name, image, snapshot);
}
int rbd_close(rbd_image_t image) { return 0; }
int rbd_stat(rbd_image_t image, rbd_image_info_t* found, size_t bytes) {
  memset(found, 0, bytes);
  found->size = SIZE;
  found->obj_size = OBJECT_BYTES;
  found->num_objs = SIZE / OBJECT_BYTES;
  found->order = OBJECT_ORDER;
  return 0;
}
int rbd_get_size(rbd_image_t image, uint64_t* bytes) {
  *bytes = SIZE;
  return 0;
}
int rbd_get_features(rbd_image_t image, uint64_t* features) {
  *features = RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK;
  return 0;
}
int rbd_get_flags(rbd_image_t image, uint64_t* flags) {
  *flags = 0;
  return 0;
}
int rbd_get_id(rbd_image_t image, char* id, size_t bytes) {
  snprintf(id, bytes, "stub");
  return 0;
}
int rbd_lock_acquire(rbd_image_t image, rbd_lock_mode_t mode) { return 0; }
int rbd_is_exclusive_lock_owner(rbd_image_t image, int* is_owner) {
  *is_owner = 1;
  return 0;
}
int rbd_update_watch(rbd_image_t image, uint64_t* watch, rbd_update_callback_t notice,
                     void* argument) {
  *watch = 1;
  return 0;
}
int rbd_update_unwatch(rbd_image_t image, uint64_t watch) { return 0; }
int rbd_invalidate_cache(rbd_image_t image) { return 0; }
int rbd_flush(rbd_image_t image) { return 0; }
int rbd_diff_iterate2(rbd_image_t image, const char* from, uint64_t offset, uint64_t bytes,
                      uint8_t parents, uint8_t whole, int (*visit)(uint64_t, size_t, int, void*),
                      void* argument) {
  return visit(offset, bytes, 1, argument);
}

/* --- The cluster */

int rados_create(rados_t* cluster, const char* user) {
  *cluster = &mutex;
  return 0;
}
int rados_create2(rados_t* cluster, const char* name, const char* user, uint64_t flags) {
  return rados_create(cluster, user);
}
int rados_conf_read_file(rados_t cluster, const char* path) { return 0; }
int rados_conf_set(rados_t cluster, const char* option, const char* value) { return 0; }
int rados_conf_get(rados_t cluster, const char* option, char* value, size_t bytes) {
  snprintf(value, bytes, "%s", "");
  return 0;
}
int rados_connect(rados_t cluster) { return 0; }
void rados_shutdown(rados_t cluster) {}
int rados_ioctx_create(rados_t cluster, const char* name, rados_ioctx_t* pool) {
  *pool = &mutex;
  return 0;
}
void rados_ioctx_destroy(rados_ioctx_t pool) {}
void rados_ioctx_set_namespace(rados_ioctx_t pool, const char* name) {}

ABSENT(rbd_create);
ABSENT(rbd_encryption_format);
ABSENT(rbd_encryption_load);
ABSENT(rbd_get_parent_info);
ABSENT(rbd_lock_get_owners);
ABSENT(rbd_lock_get_owners_cleanup);
ABSENT(rbd_namespace_exists);
ABSENT(rbd_read);
ABSENT(rbd_remove);
ABSENT(rbd_resize);
ABSENT(rbd_resize2);
ABSENT(rbd_snap_create);
ABSENT(rbd_snap_list);
ABSENT(rbd_snap_list_end);
ABSENT(rbd_snap_remove);
ABSENT(rbd_snap_rollback);
ABSENT(rados_aio_create_completion);
ABSENT(rados_aio_is_complete);
ABSENT(rados_aio_read);
ABSENT(rados_aio_release);
ABSENT(rados_aio_write);
ABSENT(rados_aio_write_op_operate);
ABSENT(rados_create_write_op);
ABSENT(rados_release_write_op);
ABSENT(rados_remove);
ABSENT(rados_write);
ABSENT(rados_write_op_zero);
