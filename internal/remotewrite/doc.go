// Package remotewrite delivers samples to the endpoints of remote_write. The way of a batch of samples:
//
//  1. Writers.Append gives the batch to each endpoint (writers.go).
//  2. pack.Packer applies write_relabel_configs, chooses a lane by the labels, and encodes each sample into the open
//     request of its lane (wire.FragmentWriter). The piece that a batch adds to a request is a fragment.
//  3. The fragment is a record in the endpoint's queue (package queue), on disk or in memory. A request is sealed when
//     it has max_samples_per_send samples, or after batch_send_deadline. If two scrape intervals fit into that, or
//     while the receiver is unreachable or behind (bytarget.go), each scrape is a request, and the queue holds it for
//     the next scrapes of the target (stream mode: pack/hold.go).
//  4. deliver.Sender, one for each lane, takes the oldest request that is due, or several scrapes of a target, which it
//     merges (wire.Pool.Merge). It makes the body of a POST of it (wire.Pool.Body) and sends it until the receiver has
//     accepted or refused it.
//  5. The sender reports each fate to account.fate, which counts it (account.go).
//
// This package holds what is left: configuration (config.go, settings.go), where queues are (storage.go, identity.go),
// which running endpoint goes on as which entry after a reload (apply.go, pairing.go), the life of an endpoint
// (endpoint.go), the number of its lanes (growth.go), whether it packs by target (bytarget.go), and metrics. Packages
// below it know nothing of it:
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
