// The rows of the relations that Signalbox provides, made from a snapshot of its catalog.
//
// Executor  any thread; the JSON of a relation is made once for each snapshot
// Source    DESIGN section 6
#pragma once

#include "catalog/connections.hpp"
#include "proxy/relation_source.hpp"

#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace signalbox::proxy {

class relation_tables {
public:
    std::string rows(const rewrite::relation& of, const catalog::snapshot_ptr& known);

private:
    std::mutex mutex_;
    catalog::snapshot_ptr made_from_;
    std::map<std::string_view, std::string> made_;  // by the relation's name
};

}  // namespace signalbox::proxy
