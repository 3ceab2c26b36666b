// Package aggregate sums the series of many targets where whole scrapes are seen, so that a mesh's metrics need no
// series per pod. Two replicas of reviews, with the blocks {without: [instance, pod], as: {instance: node-7}}:
//
//	istio_requests_total{app="reviews",instance="10.0.0.1:15090",pod="reviews-a",response_code="200"}  5  then 8
//	istio_requests_total{app="reviews",instance="10.0.0.2:15090",pod="reviews-b",response_code="200"}  9  then 9
//	istio_requests_total{app="reviews",instance="node-7",response_code="200"}                          0  then 3
//
// The way of a scrape:
//
//  1. Aggregates.Append finds the source: what is known of the target's pages so far (aggregates.go).
//  2. learn says for each series of a page that is not like the one before to which aggregate it belongs, if any
//     (learn.go). The result is a layout, which replicas share (layout.go). Pages that disagree about the bounds of a
//     histogram are kept apart (bounds.go).
//  3. source.carry finds the value of each series on the page before (carry.go), also of series that were missing for a
//     while (lost.go). Here it is decided whether a series is new, or the process is another one (source.go).
//     Histograms that begin again do so as a whole (resets.go).
//  4. source.count adds what each series has grown by to the total of its aggregate, for the whole page under one lock
//     (source.go).
//  5. The rest of the batch goes on to the next sink (rest.go).
//  6. Aggregates.tickIfDue hands on the totals of a group as one batch, at each multiple of the scrape interval
//     (ticks.go, group.go).
//
// The words: a source is a sequence of pages of one target, a group is a target label set that aggregates have, an
// aggregate is a series of a group, and a slot is its place in the group. A feed is the list of groups that the pages
// of a target go to: one for each block of its job.
//
// Invariants: a layout holds one reference of each of its series, a slot one of its aggregate. A slot that is in a
// layout has at least one source. What a source knows changes only while all groups of its feed are locked.
//
// LOCK ORDER: Aggregates.looking, Aggregates.changing, Aggregates.mu, group.mu in the order of their numbers, the locks
// of the next sink and of series.Table.
package aggregate
