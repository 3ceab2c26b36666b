// Package cost says what the series of a mesh cost, by family, label, pod, workload, namespace and job, and what would
// change without some of them. It reads what the program remembers of the last page of each target; it asks no database
// and scrapes nothing.
//
// The way of a report:
//
//  1. Costs.Report (costs.go) holds the last page of each target (scrape.Pools.LastPages), so that their series stay
//     what they are while it counts.
//  2. shapeOf (shape.go) reads the lines of a page, a few hundred at a time, and sums them by name and by stem. Pages
//     with the same lines are read once.
//  3. tally (tally.go) adds the shapes of all pages up to the rows of every table.
//  4. dropFamily, dropLabel and keepUsed (whatif.go) count what would go; fix.go writes the rule that does it.
//  5. Query (query.go) chooses a table, its order and a part of it. Report.WriteText (text.go) prints it.
//
// ParseUsage (usage.go) reads which metrics dashboards and rules use; variables.go fills in Grafana's variables first.
// history.go keeps one hour of series counts. Watch (watch.go) notes which series are zero, only after somebody asked.
//
// Invariants: nothing here is on the way of a sample, except one look at an atomic variable per scrape. The lock of the
// table is held for at most maxWork steps at a time, and others run before the next ones.
package cost
