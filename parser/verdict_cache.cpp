#include "parser/statements.hpp"

namespace signalbox::parser {
namespace {

/// A longer text costs less to decide than it would push out of the cache.
constexpr std::size_t max_cached_text = std::size_t{64} << 10U;

/// The list's node, the index's node and bucket, the verdict and its control block.
constexpr std::size_t entry_overhead = 256;

/// With 63 bytes of its own.
constexpr std::size_t bytes_of_name = sizeof(sql_name) + 64;

std::size_t bytes_of(std::string_view sql, const verdict& found) noexcept {
    return sql.size() + found.statements.capacity() * sizeof(statement_piece) +
           found.names.capacity() * bytes_of_name + entry_overhead;
}

}  // namespace

verdict_ptr verdict_cache::find(std::string_view sql) {
    const auto at = index_.find(sql);
    if (at == index_.end()) {
        return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, at->second);
    return at->second->found;
}

void verdict_cache::add(std::string_view sql, verdict_ptr found) {
    const auto size = bytes_of(sql, *found);
    if (sql.size() > max_cached_text || size > max_bytes_ || index_.contains(sql)) {
        return;
    }
    while (bytes_ + size > max_bytes_) {
        const auto& last = entries_.back();
        bytes_ -= bytes_of(last.sql, *last.found);
        index_.erase(last.sql);
        entries_.pop_back();
    }
    entries_.push_front({std::string{sql}, std::move(found)});
    index_.emplace(entries_.front().sql, entries_.begin());
    bytes_ += size;
}

}  // namespace signalbox::parser
