// See saslprep.hpp. The tables and the normal form KC are GNU libidn's.
//
// libidn's own stringprep() grows its buffer by 50 code points a time and starts anew each time,
// which a hostile password turns into seconds; hence stringprep_4i on a buffer that is large
// enough.
#include "wire/saslprep.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stringprep.h>
#include <vector>

namespace signalbox::wire {
namespace {

// U+FDFA has the longest compatibility decomposition.
constexpr std::size_t max_expansion = 18;

// PostgreSQL judges the text after mapping and before the normal form; libidn's profile judges the
// normal form. They differ in presentation forms of Hebrew and Arabic, and PostgreSQL is whom we
// must agree with. So the profile's steps are put into its order. What still differs: libidn's form
// KC is Unicode 3.2's, before the corrections of five ideographs (U+2F868, U+2F874, U+2F91F,
// U+2F95F, U+2F9BF) and of Hangul with a combining mark between its letters.
std::vector<Stringprep_profile> postgresql_order() {
    std::vector<Stringprep_profile> steps;
    Stringprep_profile normal_form{};
    const Stringprep_profile* step = stringprep_saslprep;
    for (; step->operation != 0; ++step) {
        if (step->operation == STRINGPREP_NFKC) {
            normal_form = *step;
        } else {
            steps.push_back(*step);
        }
    }
    steps.push_back(normal_form);
    steps.push_back(*step);
    return steps;
}

struct free_delete {
    void operator()(void* p) const noexcept { std::free(p); }
};

template <class T>
using malloced = std::unique_ptr<T, free_delete>;

bool is_ascii(std::string_view text) noexcept {
    return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// The normal form, or an empty string if there is none.
std::string prepare(std::string_view password) {
    std::size_t count = 0;
    const malloced<std::uint32_t> code_points{
        stringprep_utf8_to_ucs4(password.data(), static_cast<ssize_t>(password.size()), &count)};
    if (code_points == nullptr) {
        return {};
    }
    std::vector<std::uint32_t> buffer(count * max_expansion + 1);
    std::copy_n(code_points.get(), count, buffer.begin());
    OPENSSL_cleanse(code_points.get(), count * sizeof(std::uint32_t));

    static const std::vector<Stringprep_profile> profile = postgresql_order();
    std::string prepared;
    std::size_t size = count;
    // Code points unknown to Unicode 3.2 are prohibited in a stored string (RFC 3454 section 7).
    if (stringprep_4i(
            buffer.data(), &size, buffer.size(), STRINGPREP_NO_UNASSIGNED, profile.data()
        ) == STRINGPREP_OK) {
        std::size_t bytes = 0;
        const malloced<char> utf8{
            stringprep_ucs4_to_utf8(buffer.data(), static_cast<ssize_t>(size), nullptr, &bytes)};
        if (utf8 != nullptr) {
            prepared.assign(utf8.get(), bytes);
            OPENSSL_cleanse(utf8.get(), bytes);
        }
    }
    OPENSSL_cleanse(buffer.data(), buffer.size() * sizeof(std::uint32_t));
    return prepared;
}

}  // namespace

std::string saslprep(std::string_view password) {
    if (is_ascii(password) || password.size() > max_saslprep_bytes ||
        password.find('\0') != std::string_view::npos) {
        return std::string{password};
    }
    std::string prepared = prepare(password);
    if (prepared.empty()) {
        return std::string{password};
    }
    return prepared;
}

}  // namespace signalbox::wire
