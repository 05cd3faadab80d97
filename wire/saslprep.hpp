// SASLprep (RFC 4013), the normal form of a password before it is hashed for SCRAM.
//
// Two keyboards may write the same word as different bytes (é as one code point or as two);
// SASLprep makes them equal. A password that it does not allow (not UTF-8, a control character,
// mixed directions) is used as it is: so does PostgreSQL, whose pg_saslprep treats client and
// server alike.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace signalbox::wire {

/// Longer passwords are used as they are. The normal form takes up to 18 times the input's code
/// points.
inline constexpr std::size_t max_saslprep_bytes = 4096;

/// The password's normal form, or the password as it is.
///
/// Cost      plain ASCII: one copy
/// Source    RFC 4013; PostgreSQL's src/common/saslprep.c
std::string saslprep(std::string_view password);

}  // namespace signalbox::wire
