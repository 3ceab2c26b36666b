// Package deliver sends requests to one receiver. It knows messages (package wire) and a Lane that gives them out; it
// does not know series or what the queue looks like. The way of a request:
//
//  1. Sender.Run asks its Lane for the next group of requests, and merges them to messages: each series once, with all
//     its samples in order, and several targets together (sender.go). A large fragment is a message as it is.
//  2. isolator.deliver sends it whole, or in parts if some of its series were refused lately (isolate.go,
//     badseries.go).
//  3. requester.send makes a POST, and another one after each answer that asks for that (attempt.go, backoff.go). The
//     Client is HTTP (client.go).
//  4. classify gives the answer a meaning, an Outcome, which decides what happens next (answer.go).
//  5. accept, refuse and drop settle the samples, and report their Fate (fate.go), from which the metrics are made.
//  6. A message that is too large, or that a 1.0 receiver rejects, is divided by series or by time, and its parts go
//     through 3 (isolate.go).
//
// Receiver is what all senders of an endpoint share: settings, the protocol in use (negotiation.go), the largest body
// (bodylimit.go), whether the receiver can be reached (outage.go), what it refused (rejections.go). Each of these types
// is guarded by Receiver.mu. MetadataSender sends metadata to a 1.0 receiver (metadata.go).
//
// Invariants:
//
//   - A sender has one group of requests under way. It acknowledges it after all its samples are settled: a stop in
//     between sends it again, and loses nothing.
//   - A series is delivered in order: its samples are in one message in order, or in messages that are sent one after
//     the other.
//   - Each sample is in exactly one Fate.
//   - An answer to a request made under older settings changes nothing that is learned.
package deliver
