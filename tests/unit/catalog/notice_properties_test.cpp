// The life of notices against a simple model of it: random views are made, dropped (seen or not),
// made again, changed, renamed; statuses are set; time passes; two catalogs work on one store, and
// each of them starts anew at times. After every step both have exactly what the model has.
#include "catalog/notices.hpp"
#include "catalog/sqlite_store.hpp"
#include "tests/support/notices.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

using namespace signalbox::catalog;
using namespace signalbox::tests;

namespace {

constexpr std::chrono::seconds retention = std::chrono::hours{24 * 10};

/// A view as the server has it.
struct server_view {
    std::uint32_t oid = 0;
    std::string name;
    std::set<std::string> facts;

    bool operator==(const server_view&) const = default;
};

/// What is to be known of one finding.
struct model_notice {
    std::uint32_t oid = 0;
    std::string name;
    std::string fact;
    bool is_resolved = false;
    timestamp created_at{};
    timestamp updated_at{};
};

struct model_ignored {
    timestamp ignored_at{};
    timestamp gone_at{};  // counts while there is no such notice
};

class model {
public:
    explicit model(const test_clock& clock) : clock_(clock) {}

    static std::string key_of(const std::string& name, const std::string& fact) {
        return uuid_of(name + "/" + fact);
    }

    /// An examination of one view, which may have had another name, or another OID.
    void examine(const server_view& now) {
        std::map<std::string, model_notice> old;  // by fact; of this view
        for (const auto& [key, notice] : notices) {
            if (notice.oid == now.oid) {
                old.emplace(notice.fact, notice);
            }
        }
        std::map<std::string, model_notice> next;
        for (const auto& fact : now.facts) {
            model_notice made{
                .oid = now.oid,
                .name = now.name,
                .fact = fact,
                .is_resolved = false,
                .created_at = clock_.time,
                .updated_at = clock_.time};
            const auto key = key_of(now.name, fact);
            const auto mine = old.find(fact);
            const auto others = notices.find(key);
            if (mine != old.end()) {
                made.is_resolved = mine->second.is_resolved;
                made.created_at = mine->second.created_at;
                if (mine->second.name == now.name) {
                    made.updated_at = mine->second.updated_at;
                } else if (const auto was = ignored.find(key_of(mine->second.name, fact));
                           was != ignored.end()) {
                    ignored.emplace(key, was->second);
                }
            } else if (others != notices.end()) {
                made.created_at = others->second.created_at;
                made.updated_at =
                    others->second.is_resolved ? clock_.time : others->second.updated_at;
            }
            next.emplace(key, made);
        }
        for (const auto& [fact, notice] : old) {
            if (!next.contains(key_of(notice.name, fact))) {
                erase(key_of(notice.name, fact));
            }
        }
        for (const auto& [key, notice] : next) {
            notices.insert_or_assign(key, notice);
        }
    }

    void drop(std::uint32_t oid) {
        std::vector<std::string> gone;
        for (const auto& [key, notice] : notices) {
            if (notice.oid == oid) {
                gone.push_back(key);
            }
        }
        for (const auto& key : gone) {
            erase(key);
        }
    }

    void set_status(const std::string& key, const std::string& status) {
        auto& notice = notices.at(key);
        if (status_of(key) == status) {
            return;
        }
        notice.updated_at = clock_.time;
        notice.is_resolved = status == "resolved";
        if (status == "ignored") {
            ignored.emplace(key, model_ignored{.ignored_at = clock_.time, .gone_at = {}});
        } else {
            ignored.erase(key);
        }
    }

    [[nodiscard]] std::string status_of(const std::string& key) const {
        if (ignored.contains(key)) {
            return "ignored";
        }
        return notices.at(key).is_resolved ? "resolved" : "new";
    }

    void expire() {
        std::erase_if(ignored, [&](const auto& each) {
            return !notices.contains(each.first) && clock_.time - each.second.gone_at > retention;
        });
    }

    std::map<std::string, model_notice> notices;  // by fingerprint
    std::map<std::string, model_ignored> ignored;

private:
    void erase(const std::string& key) {
        notices.erase(key);
        if (const auto found = ignored.find(key); found != ignored.end()) {
            found->second.gone_at = clock_.time;
        }
    }

    const test_clock& clock_;
};

class life {
public:
    explicit life(unsigned seed) : random_(seed) {
        for (auto& each : boxes_) {
            start(each);
        }
    }

    void step() {
        clock_.time += std::chrono::hours{1 + below(60)};
        acting_ = boxes_[below(boxes_.size())].get();
        switch (below(10)) {
            case 0:
            case 1:
                create();
                break;
            case 2:
                drop(true);
                break;
            case 3:
                drop(false);
                break;
            case 4:
                replace();
                break;
            case 5:
                rename();
                break;
            case 6:
            case 7:
                set_random_status();
                break;
            case 8:
                reconcile();
                break;
            default:
                acting_->expire_ignored();
                model_.expire();
        }
        if (below(20) == 0) {
            start(boxes_[below(boxes_.size())]);
        }
    }

    void check() {
        for (const auto& box : boxes_) {
            box->reload();
            check(*box->snapshot());
        }
    }

    std::map<std::string, int> met;  // how often a status was there

private:
    using box_ptr = std::unique_ptr<notice_catalog>;

    std::size_t below(std::size_t count) {
        return std::uniform_int_distribution<std::size_t>{0, count - 1}(random_);
    }

    void start(box_ptr& box) {
        box = std::make_unique<notice_catalog>(store_, retention, clock_.reader());
        box->reload();
    }

    std::string free_name() {
        while (true) {
            auto name = "view " + std::to_string(below(8));
            if (!views_.contains(name) && !unseen_.contains(name)) {
                return name;
            }
        }
    }

    std::set<std::string> some_facts() {
        std::set<std::string> out;
        for (const auto* const fact : {"a", "b", "c"}) {
            if (below(2) == 0) {
                out.insert(fact);
            }
        }
        return out;
    }

    server_view* any_view() {
        if (views_.empty()) {
            return nullptr;
        }
        auto it = views_.begin();
        std::advance(it, static_cast<std::ptrdiff_t>(below(views_.size())));
        return &it->second;
    }

    static std::vector<found_notice> findings_of(const server_view& of) {
        std::vector<found_notice> out;
        for (const auto& fact : of.facts) {
            out.push_back(finding_of(view(of.oid, of.name), fact, {table(1, "t")}));
        }
        return out;
    }

    void examine(const server_view& now) {
        acting_->found(examined({now.oid}, findings_of(now)));
        model_.examine(now);
    }

    /// Of a new name, or one whose drop nobody has seen.
    void create() {
        if (views_.size() + unseen_.size() >= 6 && unseen_.empty()) {
            return;
        }
        server_view made{.oid = ++last_oid_, .name = {}, .facts = some_facts()};
        if (!unseen_.empty()) {
            const auto before = unseen_.begin()->second;
            unseen_.erase(unseen_.begin());
            made.name = before.name;
            made.facts = before.facts;
        } else {
            made.name = free_name();
        }
        views_.emplace(made.name, made);
        examine(made);
    }

    void drop(bool is_seen) {
        auto* const found = any_view();
        if (found == nullptr) {
            return;
        }
        const auto gone = *found;
        views_.erase(gone.name);
        if (is_seen) {
            acting_->removed("u1", "app", {gone.oid});
            model_.drop(gone.oid);
        } else {
            unseen_.emplace(gone.name, gone);
        }
    }

    void replace() {
        if (auto* const found = any_view()) {
            found->facts = some_facts();
            examine(*found);
        }
    }

    void rename() {
        auto* const found = any_view();
        if (found == nullptr) {
            return;
        }
        auto renamed = *found;
        views_.erase(renamed.name);
        renamed.name = free_name();
        views_.emplace(renamed.name, renamed);
        examine(renamed);
    }

    void set_random_status() {
        if (model_.notices.empty()) {
            return;
        }
        auto it = model_.notices.begin();
        std::advance(it, static_cast<std::ptrdiff_t>(below(model_.notices.size())));
        static constexpr std::array statuses{"new", "resolved", "ignored", "ignored"};
        const std::string status = statuses.at(below(statuses.size()));
        const auto key = it->first;
        set_status(*acting_, key, status == "new" ? std::nullopt : std::optional{status});
        model_.set_status(key, status);
    }

    /// Everything at once: what went unseen is seen now.
    void reconcile() {
        std::vector<found_notice> all;
        for (const auto& [name, each] : views_) {
            for (auto& found : findings_of(each)) {
                all.push_back(std::move(found));
            }
        }
        acting_->found(all_examined(all));
        for (const auto& [name, gone] : unseen_) {
            model_.drop(gone.oid);
        }
        unseen_.clear();
    }

    void check(const notice_snapshot& known) {
        REQUIRE(known.notices.size() == model_.notices.size());
        std::set<std::string> needed;
        for (const auto& [key, expected] : model_.notices) {
            CAPTURE(expected.name, expected.fact);
            const auto* const found = known.find(key);
            REQUIRE(found != nullptr);
            CHECK(known.status_of(*found) == model_.status_of(key));
            CHECK(found->created_at == expected.created_at);
            CHECK(found->updated_at == expected.updated_at);
            CHECK(found->message == expected.name + " compares " + expected.fact + " with 42");
            const auto* const object = known.find_object(found->object_id);
            REQUIRE(object != nullptr);
            CHECK(std::tie(object->oid, object->name) == std::tie(expected.oid, expected.name));
            // An id means one object, for good.
            CHECK(oid_of_.emplace(object->id, object->oid).first->second == object->oid);
            needed.insert(found->object_id);
            needed.insert(found->dependency_ids.begin(), found->dependency_ids.end());
            ++met[model_.status_of(key)];
        }
        CHECK(known.objects.size() == needed.size());
        REQUIRE(known.ignored.size() == model_.ignored.size());
        for (const auto& [key, expected] : model_.ignored) {
            REQUIRE(known.ignored.contains(key));
            CHECK(known.ignored.at(key).ignored_at == expected.ignored_at);
            met["ignored and gone"] += model_.notices.contains(key) ? 0 : 1;
        }
    }

    std::mt19937 random_;
    temporary_folder folder_;
    test_clock clock_;
    sqlite_store store_{folder_.file()};
    model model_{clock_};
    std::array<box_ptr, 2> boxes_;
    notice_catalog* acting_ = nullptr;
    std::map<std::string, server_view> views_;   // by name
    std::map<std::string, server_view> unseen_;  // dropped, and nobody has told
    std::uint32_t last_oid_ = 100;
    std::map<std::string, std::uint32_t> oid_of_;  // by object id
};

}  // namespace

TEST_CASE("notices live as the model does") {
    std::map<std::string, int> met;
    for (unsigned seed = 1; seed <= 20; ++seed) {
        CAPTURE(seed);
        life one{seed};
        for (int step = 0; step < 60; ++step) {
            CAPTURE(step);
            one.step();
            one.check();
        }
        for (const auto& [what, count] : one.met) {
            met[what] += count;
        }
    }
    // It has met what it is about.
    for (const auto* const what : {"new", "resolved", "ignored", "ignored and gone"}) {
        CAPTURE(what);
        CHECK(met[what] > 200);
    }
}
