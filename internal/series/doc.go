// Package series stores the series of all targets. Targets share strings, sets of labels and series: the replicas of a
// workload print the same lines, so a further replica costs little more than its ids.
//
// The way of a series:
//
//  1. Table.AddTarget interns the labels of a target (targets.go).
//  2. Table.Add takes a series' labels after all rules (table.go). It interns the strings (symbols.go), and divides the
//     labels into the name, le, the target's own, and a stem, which hundreds of series share (stems.go). It returns
//     the ID of the series.
//  3. A scrape fills a Batch with IDs and values (batch.go).
//  4. Writers read the labels back through a View (view.go), by a plan that says where the labels of the target belong
//     among those of the stem (mergeplan.go).
//  5. Table.Release gives references back, a bounded number under one hold of the lock (references.go).
//
// Series, strings, stems and families (metas.go) are stored in slabs (slab.go), which give empty parts back to the
// garbage collector. The labels of stems are in an arena (arena.go).
//
// Invariants: everything is reference counted, and every Add needs a Release. An id is given to another series once its
// count is 0. Code that keeps data under an id either holds a reference or compares generations (Gen, SymbolGen): if id
// 4711 had generation 3 when a request was encoded and has 4 now, it is another series.
//
// LOCK ORDER: the table has one lock, and takes no other lock under it. A function given to Read runs under it.
package series
