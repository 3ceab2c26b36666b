// Package pack puts the samples of batches into requests, and the requests into a queue. The way of a batch:
//
//  1. Packer.Append (append.go) takes the settings in force.
//  2. rules.lookUp looks up what write_relabel_configs make of each series; the rules run once for each series of each
//     target, not for each sample (rules.go).
//  3. Each row of the batch (row.go) takes one of two ways. A bound series has all labels of its target, and goes to
//     the lane of the target (appendBoundRows). Any other series is unbound, and goes to the lane of its own labels
//     (appendUnbound, unbound.go). So does, in the lane of its target, a series with timestamps of its own.
//  4. history drops a sample that is not newer than the last one of its series (history.go). classics turns a native
//     histogram with custom buckets into classic series, if so configured (classic.go).
//  5. Lane.add encodes the row into a request of the target's stream, which Lane.finish appends to the queue
//     (lane.go). hold.go says until when it waits there for other scrapes. A batch with the rows of the one before is a
//     column: its values only, by a way of its own without 3 to 5 (column.go).
//  6. The sender of the lane calls Lane.Next and Lane.Ack.
//
// Append returns a Tally: what became of the samples of the batch.
//
// Invariants:
//
//   - Samples of one series go through one lane and one stream, in order. When the number of lanes changes (resize.go),
//     everything that is queued is delivered before what is appended from then on. Each lane takes over what others
//     remembered.
//   - No request holds two samples of one series.
//   - Between two batches a lane has no request: everything it encoded is in the queue.
//
// Lock order, outermost first: ruledTarget.mu, Packer.shape, Lane.mu, then the queue's or the table's. The table's lock
// is given up every 1,024 rows (View.Pause). rules.mu is held alone.
package pack
