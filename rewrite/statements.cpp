#include "rewrite/statements.hpp"

#include <algorithm>

namespace signalbox::rewrite {

statement_ptr statement_registry::intern(const std::string& key, std::string_view tail) {
    const std::lock_guard lock{mutex_};
    auto& known = known_[key];
    if (auto statement = known.lock()) {
        return statement;
    }
    auto made = std::make_shared<prepared_statement>();
    made->id = next_id_++;
    made->tail = tail;
    made->traits = parser::scan_text(tail.substr(0, tail.find('\0')));
    known = made;
    if (known_.size() >= sweep_at_) {
        std::erase_if(known_, [](const auto& item) { return item.second.expired(); });
        sweep_at_ = std::max<std::size_t>(1024, known_.size() * 2);
    }
    return made;
}

statement_ptr statement_cache::intern(std::string_view tail, std::uint64_t context) {
    key_.assign(reinterpret_cast<const char*>(&context), sizeof context);
    key_.append(tail);
    if (const auto it = known_.find(key_); it != known_.end()) {
        return it->second;
    }
    auto statement = registry_.intern(key_, tail);
    if (known_.size() >= max_entries) {
        std::erase_if(known_, [](const auto& item) { return item.second.use_count() == 1; });
        if (known_.size() >= max_entries) {
            known_.clear();
        }
    }
    known_.emplace(key_, statement);
    return statement;
}

statement_ptr client_statements::find(std::string_view name) const {
    const auto it = names_.find(name);
    return it == names_.end() ? nullptr : it->second.visible;
}

bool client_statements::is_unsettled(std::string_view name, std::uint64_t batch) const {
    const auto it = names_.find(name);
    // Neither: a Parse and a Close are under way, and the Close may be skipped.
    return it != names_.end() && it->second.changed_in != batch &&
           (it->second.visible != it->second.confirmed || !it->second.visible);
}

std::string_view client_statements::name_of(std::uint64_t statement_id) const {
    for (const auto& [name, held] : names_) {
        if (held.visible && held.visible->id == statement_id) {
            return name;
        }
    }
    return {};
}

bool client_statements::is_first_use(std::uint64_t statement_id, std::uint64_t batch) const {
    for (const auto& [name, held] : names_) {
        if (held.visible && held.visible->id == statement_id) {
            return held.answered_here && held.first_use == batch;
        }
    }
    return false;
}

bool client_statements::was_used(std::uint64_t statement_id, std::uint64_t batch) const {
    return std::any_of(names_.begin(), names_.end(), [&](const auto& each) {
        const auto& held = each.second;
        return held.visible && held.visible->id == statement_id && held.first_use != 0 &&
               held.first_use < batch;
    });
}

void client_statements::answered_here(std::string_view name) {
    if (const auto it = names_.find(name); it != names_.end()) {
        it->second.answered_here = true;
    }
}

void client_statements::used(std::string_view name, std::uint64_t batch) {
    if (const auto it = names_.find(name); it != names_.end() && it->second.first_use == 0) {
        it->second.first_use = batch;
    }
}

statement_ptr client_statements::statement_of(std::uint64_t statement_id) const {
    for (const auto& [name, held] : names_) {
        if (held.visible && held.visible->id == statement_id) {
            return held.visible;
        }
    }
    return nullptr;
}

std::uint64_t client_statements::ddl_at_parse(std::string_view name) const {
    const auto it = names_.find(name);
    return it == names_.end() ? 0 : it->second.ddl;
}

void client_statements::prepare(
    std::string_view name, statement_ptr statement, std::uint64_t batch, std::uint64_t ddl
) {
    const auto it = names_.find(name);
    if (it != names_.end()) {
        it->second.visible = std::move(statement);
        it->second.changed_in = batch;
        it->second.first_use = 0;
        it->second.answered_here = false;
        it->second.ddl = ddl;
        it->second.columns = 0;
    } else {
        names_.emplace(
            std::string{name}, entry{std::move(statement), nullptr, batch, 0, false, ddl, 0}
        );
    }
}

std::uint64_t client_statements::columns_told(std::string_view name) const {
    const auto it = names_.find(name);
    return it == names_.end() ? 0 : it->second.columns;
}

void client_statements::tell_columns(
    std::string_view name, std::uint64_t statement_id, std::uint64_t columns
) {
    const auto it = names_.find(name);
    if (it != names_.end() && it->second.visible && it->second.visible->id == statement_id) {
        it->second.columns = columns;
    }
}

void client_statements::close(std::string_view name, std::uint64_t batch) {
    if (const auto it = names_.find(name); it != names_.end()) {
        it->second.visible = nullptr;
        it->second.changed_in = batch;
    }
}

void client_statements::confirm_prepare(std::string_view name, const statement_ptr& statement) {
    if (const auto it = names_.find(name); it != names_.end()) {
        it->second.confirmed = statement;
    }
}

void client_statements::confirm_close(std::string_view name) {
    if (const auto it = names_.find(name); it != names_.end()) {
        it->second.confirmed = nullptr;
        drop_if_empty(name);
    }
}

void client_statements::roll_back(std::string_view name) {
    if (const auto it = names_.find(name); it != names_.end()) {
        it->second.visible = it->second.confirmed;
        drop_if_empty(name);
    }
}

void client_statements::forget_confirmed() {
    std::erase_if(names_, [](const auto& each) {
        return each.second.visible == each.second.confirmed || !each.second.visible;
    });
    for (auto& [name, held] : names_) {
        held.confirmed = nullptr;
    }
}

void client_statements::drop_if_empty(std::string_view name) {
    const auto it = names_.find(name);
    if (it != names_.end() && !it->second.visible && !it->second.confirmed) {
        names_.erase(it);
    }
}

server_statements::slot* server_statements::find(std::uint64_t id) noexcept {
    const auto it = slots_.find(id);
    return it == slots_.end() ? nullptr : &it->second;
}

server_statements::slot& server_statements::add(std::uint64_t id, std::uint64_t batch) {
    auto& made = slots_[id];
    made = slot{
        .number = next_number_++,
        .confirmed = false,
        .batch = batch,
        .used = batch,
        .ddl = 0,
        .stale = false,
        .asked = false,
        .columns = 0};
    return made;
}

void server_statements::confirm(std::uint64_t id, std::uint32_t number) noexcept {
    if (slot* const found = find(id); found != nullptr && found->number == number) {
        found->confirmed = true;
    }
}

void server_statements::forget(std::uint64_t id, std::uint32_t number) noexcept {
    if (slot* const found = find(id); found != nullptr && found->number == number) {
        slots_.erase(id);
    }
}

std::optional<std::uint32_t> server_statements::take_left() noexcept {
    if (left_.empty()) {
        return std::nullopt;
    }
    const auto number = left_.back();
    left_.pop_back();
    return number;
}

void server_statements::forget_name(std::string_view server_name) {
    std::erase_if(slots_, [&](const auto& each) {
        return server_statement_name(each.second.number) == server_name;
    });
}

void server_statements::forget_confirmed() {
    std::erase_if(slots_, [](const auto& each) { return each.second.confirmed; });
    left_.clear();
}

std::uint64_t server_statements::id_of(std::uint32_t number) const noexcept {
    for (const auto& [id, held] : slots_) {
        if (held.number == number) {
            return id;
        }
    }
    return 0;
}

std::optional<std::uint32_t> server_statements::evict(std::uint64_t batch) {
    auto oldest = slots_.end();
    for (auto it = slots_.begin(); it != slots_.end(); ++it) {
        if (it->second.used != batch &&
            (oldest == slots_.end() || it->second.used < oldest->second.used)) {
            oldest = it;
        }
    }
    if (oldest == slots_.end()) {
        return std::nullopt;
    }
    const auto number = oldest->second.number;
    slots_.erase(oldest);
    return number;
}

std::vector<server_statements::named> server_statements::mark_stale(std::uint64_t batch) {
    std::vector<named> found;
    for (auto& [id, held] : slots_) {
        if (held.used == batch) {
            held.stale = true;
            found.push_back({id, held.number});
        }
    }
    return found;
}

std::vector<std::uint64_t> server_statements::parsed_in(std::uint64_t batch) const {
    std::vector<std::uint64_t> found;
    for (const auto& [id, held] : slots_) {
        if (held.batch == batch) {
            found.push_back(id);
        }
    }
    return found;
}

std::string server_statement_name(std::uint32_t number) {
    return std::string{server_statement_prefix} + std::to_string(number);
}

}  // namespace signalbox::rewrite
