// librados and librbd, loaded when a target needs them: a machine without Ceph runs the same
// program.
//
//   const auto library = Library::load();        at the first call, for the life of the process
//   (*library)->rbd_open(...);
//
// The functions have the names of the libraries. Any thread. Tests make tables of their own.
#pragma once

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "core/error.hpp"

namespace sluice::rbd {

#define SLUICE_RADOS_FUNCTIONS(each)                                                              \
  each(rados_create) each(rados_conf_read_file) each(rados_conf_set) each(rados_conf_get)         \
      each(rados_connect) each(rados_shutdown) each(rados_ioctx_create) each(rados_ioctx_destroy) \
          each(rados_ioctx_set_namespace)

#define SLUICE_RBD_FUNCTIONS(each)                                                              \
  each(rbd_open) each(rbd_open_read_only) each(rbd_close) each(rbd_stat) each(rbd_get_size)     \
      each(rbd_get_features) each(rbd_get_id) each(rbd_resize2) each(rbd_lock_acquire)          \
          each(rbd_lock_get_owners) each(rbd_lock_get_owners_cleanup)                           \
              each(rbd_is_exclusive_lock_owner) each(rbd_update_watch) each(rbd_update_unwatch) \
                  each(rbd_diff_iterate2) each(rbd_aio_readv) each(rbd_aio_writev)              \
                      each(rbd_aio_discard) each(rbd_aio_write_zeroes) each(rbd_aio_flush)      \
                          each(rbd_aio_create_completion) each(rbd_aio_get_return_value)        \
                              each(rbd_aio_release)

struct Library {
#define SLUICE_DECLARE_FUNCTION(name) decltype(&::name) name = nullptr;
  SLUICE_RADOS_FUNCTIONS(SLUICE_DECLARE_FUNCTION)
  SLUICE_RBD_FUNCTIONS(SLUICE_DECLARE_FUNCTION)
#undef SLUICE_DECLARE_FUNCTION

  // ENOENT: they are not installed, or older than 16.2.
  static Result<const Library*> load();
};

}  // namespace sluice::rbd
