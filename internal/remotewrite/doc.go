// Package remotewrite delivers samples to the endpoints of remote_write. The way of a batch of samples:
//
//  1. Writers.Append gives the batch to each endpoint (writers.go).
//  2. pack.Packer applies write_relabel_configs, chooses a lane by the labels, and makes a request of the batch: a
//     column, if its rows are those of the scrape before, or a fragment (wire.FragmentWriter).
//  3. The request is a record in the endpoint's queue (package queue), on disk or in memory. It waits there for the
//     other targets of its wave, or for the next scrapes of its target if they fit into batch_send_deadline
//     (pack/hold.go).
//  4. deliver.Sender, one for each lane, takes a group of requests that are due, and merges them into messages of up to
//     max_samples_per_send samples (wire.Pool.Merge). It makes the body of a POST of each (wire.Pool.Body) and sends it
//     until the receiver has accepted or refused it.
//  5. The sender reports each fate to account.fate, which counts it (account.go).
//
// This package holds what is left: configuration (config.go, settings.go), where queues are (storage.go, identity.go),
// which running endpoint goes on as which entry after a reload (apply.go, pairing.go), the life of an endpoint
// (endpoint.go), the number of its lanes (growth.go), and metrics. Packages below it know nothing of it:
//
//	remotewrite -> pack    -> wire
//	remotewrite -> deliver -> wire
//
// Invariants:
//
//   - Append never waits for a network.
//   - Samples of one series go through one lane, in order; no request of the queue holds two samples of one series.
//   - What is queued is always remote write 2.0; a body in 1.0 is made of it when it is sent.
//   - Every sample that does not arrive is counted under a reason.
//   - A reload replaces the settings of the receiver before those of the packer. So a sample is never sent under older
//     settings than it was packed under; a backlog is sent under newer ones.
//
// Lock order, outermost first; nobody takes a lock to the left of one that they hold:
//
//	Writers.mu -> endpoint.life -> pack: target of the rules -> Packer.shape -> Lane.mu -> queue -> Buffers, LogLimit
//	                                                                         Lane.mu -> series.Table
//	deliver: Receiver.mu -> LogLimit
//
// The table's lock is the innermost: View.Pause gives it up every 1,024 rows, so that scrapes can add series while a
// large batch is appended. Receiver.mu and the locks of the packing side are never held together.
package remotewrite
