// SHOW NOTICES: answered from a snapshot, so that it works with every server and the store down.
//
// Source    DESIGN sections 5 and 14.24
#pragma once

#include "catalog/notices.hpp"
#include "proxy/commands.hpp"

namespace signalbox::proxy {

/// Superusers see plain text, support the redacted one, others get 42501. Without ALL, those that
/// are new.
command_reply show(
    const parser::show_notices& asked,
    const catalog::notice_snapshot& known,
    catalog::notice_reader who
);

}  // namespace signalbox::proxy
