// All headers for lending the pages of a request to I/O: docs/LENDING.md.
#pragma once

#include "lend/auto_buf.hpp"
#include "lend/chain.hpp"
#include "lend/consumer.hpp"
#include "lend/dev_splice.hpp"
#include "lend/fused.hpp"
#include "lend/fused_group.hpp"
#include "lend/get_buf.hpp"
#include "lend/provider.hpp"
#include "lend/splice_buf.hpp"
#include "lend/splice_direct.hpp"
#include "lend/splice_write.hpp"
