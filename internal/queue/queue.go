// Package queue keeps records in order until they have been delivered. A queue has lanes; each lane is a FIFO
// of requests, and a request is one or more records that were appended one after another. What the bytes of a
// record mean is not this package's business.
//
//   - The order within a lane never changes; between lanes there is none.
//   - A request is open (it may still grow), sealed, or in flight (Next gave it out, Ack has not come).
//   - A record leans on the earlier records of its request, never on another request: records leave only in
//     whole requests.
package queue

import "errors"

// ErrClosed is what an Append after Close returns.
var ErrClosed = errors.New("queue is closed")

// Record is an opaque block and what the queue must know of it to drop and to account.
type Record struct {
	Data           []byte // the queue's own once it was appended
	Samples        int
	Oldest, Newest int64 // Unix milliseconds
	First          bool  // begins a request: leans on no earlier record
}

// Request is the records of one request, in order.
type Request struct {
	Records        []Record
	Samples        int
	Bytes          int64
	Oldest, Newest int64
	Replayed       bool // survived the process that took it: it may have arrived already
}

// Loss is what left a queue undelivered.
type Loss struct {
	Requests int
	Samples  int
}

// Stats is what a queue holds, requests in flight included.
type Stats struct {
	Requests int
	Samples  int
	Bytes    int64
	Oldest   int64 // Unix milliseconds of the oldest sample; 0 if there is none
}

// Queue is a set of lanes. Its methods are safe for concurrent use, but a lane has one reader: Next and Ack
// of one lane are not called concurrently.
type Queue interface {
	// Append adds a record at the end of a lane. A record that is First seals what was open. When the limit
	// is exceeded, the oldest sealed requests that are not in flight make room, and are told.
	Append(lane int, r Record) (Loss, error)
	// Seal ends the open request of a lane, if there is one; the next record must be First.
	Seal(lane int)
	// Next gives the oldest sealed request of a lane, the same again until Ack.
	Next(lane int) (Request, bool)
	// Ack removes the request that Next gave. The data of its records is the caller's from then on.
	Ack(lane int)
	// Stats is cheap enough for every page view.
	Stats() Stats
	// Close ends the queue and tells what is lost by that: everything held, for a queue in memory.
	Close() (Loss, error)
}

// Config bounds the queue of one endpoint.
type Config struct {
	MaxBytes int64
}

// DefaultConfig is the only place where the queue's defaults are written down.
func DefaultConfig() Config {
	return Config{MaxBytes: 64 << 20}
}
