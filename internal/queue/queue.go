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
	// MayHaveArrived marks the first request after the position that a lane had acknowledged when the queue was opened.
	// An earlier process may have sent it and ended before the answer came. It had sent no later request of the lane.
	MayHaveArrived bool
}

// State is what a lane has for its reader.
type State int

// The states. A closed queue is Empty.
const (
	Ready State = iota
	Empty       // nothing is sealed: Append and Seal change that
	Later       // something waits that cannot be given out now: Config.Wake is called when Next should be tried again
)

// Loss is what left a queue undelivered.
type Loss struct {
	Requests int
	Samples  int
}

func (l *Loss) add(requests, samples int) {
	l.Requests += requests
	l.Samples += samples
}

// Reason is why samples were lost.
type Reason string

// The reasons.
const (
	QueueFull Reason = "queue_full" // the limit in bytes
	DiskFull  Reason = "disk_full"  // the disk did not take them, and memory is bounded
	TooOld    Reason = "too_old"
	Damaged   Reason = "damaged" // on disk
)

// Stats is what a queue holds, requests in flight included, and what happened to it.
type Stats struct {
	Requests int
	Samples  int
	Bytes    int64
	Oldest   int64 // Unix milliseconds of the oldest sample; 0 if there is none. Of what is on disk only: of its segment

	MemoryBytes int64 // of Bytes
	DiskBytes   int64 // of all segments, what of them is delivered included
	MaxBytes    int64 // the limit of DiskBytes, or of Bytes where there is no disk
	Segments    int
	DiskError   string // what the disk refuses at present: to write, to sync or to remove; empty: nothing

	// Since the queue was opened:

	WrittenRecords  int
	WrittenBytes    int64
	WriteErrors     int
	SyncErrors      int
	RemoveErrors    int // removals of segments that failed, and are tried again
	ReadErrors      int // what could not be read is tried again
	ReadRecords     int // that memory did not hold
	ReplayedRecords int // of them, of an earlier process
	ReplayedBytes   int64
	CorruptRecords  int   // records or headers that failed their checksum
	SkippedBytes    int64 // damage that was skipped
	TruncatedBytes  int64 // half a record at the end of a segment
}

// Queue is a set of lanes. Its methods are safe for concurrent use, but a lane has one reader: Next and Ack
// of one lane are not called concurrently.
type Queue interface {
	// Append adds a record at the end of a lane. A record that is First seals what was open. It never waits for
	// a disk. Of a queue in memory, when the limit is exceeded, the oldest sealed requests that are not in flight
	// make room, and are told here; what a queue on disk loses goes to Config.Lost.
	Append(lane int, r Record) (Loss, error)
	// Seal ends the open request of a lane, if there is one; the next record must be First.
	Seal(lane int)
	// Next returns the oldest sealed request of a lane, the same one until Ack. There is a request only if the state
	// is Ready.
	Next(lane int) (Request, State)
	// Ack removes the request that Next gave. The data of its records is the caller's from then on.
	Ack(lane int)
	// Resize changes the number of lanes, or leaves it. What is open is sealed, and all that is queued is delivered
	// before anything appended from now on: old lane i through lane i modulo the new number. A request in flight stays
	// with its reader, which calls Ack with the lane that it gave Next, even where that lane is no more.
	Resize(lanes int)
	// Stats is cheap enough for every page view.
	Stats() Stats
	// Close ends the queue and tells what is lost by that: what only memory held. A queue on disk waits for its
	// writes, for at most closeTimeout.
	Close() (Loss, error)
}
