package queue

import (
	"errors"
	"fmt"
	"time"
)

// ErrClosed is the error of an Append after Close.
var ErrClosed = errors.New("queue is closed")

// Record is bytes that the queue does not look into, and what it needs to know of them to count and to drop them.
type Record struct {
	Data           []byte // belongs to the queue once it is appended
	Samples        int
	Oldest, Newest int64 // Unix milliseconds
	First          bool  // begins a request: depends on no earlier record
	// Layout is what the reader needs beside Data; nil: nothing. A record with a Layout is First, and alone in its
	// request: Append seals it.
	Layout *Layout

	// Of a First record:

	Stream uint64    // of the request
	Due    time.Time // until then the request may wait for later ones of its stream; zero: not at all. Not on disk.
}

// check returns why a record cannot be appended.
func (r *Record) check() error {
	size := len(r.Data)
	if r.Layout != nil {
		if !r.First {
			return errors.New("record with a layout is not first")
		}
		size = max(size+layoutRefSize, r.Layout.Len())
	}
	if size > maxRecordBytes {
		return fmt.Errorf("record or layout of %d bytes, at most %d are possible", size, maxRecordBytes)
	}
	return nil
}

// Request is one or more records, in order, that are delivered together.
type Request struct {
	Records        []Record
	Samples        int
	Bytes          int64 // without layouts
	Oldest, Newest int64
	Stream         uint64
	// MayHaveArrived marks the requests that an earlier process had in flight when it ended: it may have sent them, and
	// ended before the answer came. All requests of a group are marked, or none.
	MayHaveArrived bool
}

// Limit bounds a group of requests. A field that is 0 bounds nothing. A group has at least one request in any case.
type Limit struct {
	Requests int   // of one stream
	Samples  int   // of a group of several streams: so a group has all requests of its first stream, however large
	Bytes    int64 // as in Request
}

func (l Limit) allows(samples int, bytes int64) bool {
	return (l.Samples <= 0 || samples <= l.Samples) && (l.Bytes <= 0 || bytes <= l.Bytes)
}

// State says whether Next has a request.
type State int

// The states. A closed queue is Empty.
const (
	Ready State = iota
	Empty       // nothing is sealed: Append and Seal change that
	Later       // something waits that is not given out now: try again after Config.Wake, or when Next says
)

// Loss is requests and samples that left a queue undelivered.
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
	Requests    int
	Samples     int
	HeldSamples int // of Samples: in requests that are not due yet
	OldestLanes int // number of lanes that there were when the oldest requests were appended
	Bytes       int64
	Oldest      int64 // Unix milliseconds of the oldest sample, or of its segment if it is on disk only; 0: none

	MemoryBytes int64 // of Bytes
	DiskBytes   int64 // of all segments, including what is delivered
	MaxBytes    int64 // the limit of DiskBytes, or of Bytes where there is no disk
	Segments    int
	DiskError   string // error of a write, sync or removal that fails at present; empty: none fails

	// Since the queue was opened:

	WrittenRecords  int
	WrittenBytes    int64
	WriteErrors     int
	SyncErrors      int
	RemoveErrors    int // failed removals of segments; they are tried again
	ReadErrors      int // failed reads; they are tried again
	ReadRecords     int // records that were read back from disk
	ReplayedRecords int // of ReadRecords: records of an earlier process
	ReplayedBytes   int64
	CorruptRecords  int   // records or headers that failed their checksum
	SkippedBytes    int64 // damage that was skipped
	TruncatedBytes  int64 // half a record at the end of a segment
}

// Queue is a set of lanes. Its methods are safe for concurrent use, but a lane has one reader: Next and Ack
// of one lane are not called concurrently.
//
// Requests of one stream leave a lane in the order in which they were appended. Requests of different streams leave it
// in any order. Requests of stream 0 leave it one by one, as soon as they are sealed if their Due is zero.
type Queue interface {
	// Append adds a record at the end of a lane. A record that is First seals the open request. Append never waits for
	// a disk. When a queue in memory exceeds its limit, Append drops the oldest sealed requests that are not in flight,
	// and returns that loss. A queue on disk reports losses to Config.Lost.
	Append(lane int, r Record) (Loss, error)
	// Seal ends the open request of a lane, if there is one; the next record must be First.
	Seal(lane int)
	// Next returns a group of requests of a lane, and the same group again until Ack. Layouts of a group that are equal
	// are the same Layout. If the state is not Ready, there
	// is none; Later with a wait that is not 0: no stream is due before.
	//
	// A stream is due when one of its sealed requests is. A group has the oldest sealed requests of one or more due
	// streams, stream after stream, as many as the limit allows, whether or not each of them is due. The stream whose
	// oldest request is the oldest comes first. A further stream is in the group only if all the requests that it would
	// have alone fit. A request of stream 0 is alone in its group.
	Next(lane int, most Limit) (group []Request, state State, wait time.Duration)
	// Ack removes the group that Next returned. The data of its records belongs to the caller from then on.
	Ack(lane int)
	// Flush makes everything due that is sealed in a lane; lane -1: in all lanes.
	Flush(lane int)
	// Resize sets the number of lanes. Open requests are sealed. All queued requests are due, and are delivered before
	// any that is appended later: the old lane i by the reader of lane i modulo the new number. A group in flight stays
	// with its reader, which calls Ack with the lane that it passed to Next, even if there is no such lane any more.
	Resize(lanes int)
	// Stats is cheap enough for every page view.
	Stats() Stats
	// Close ends the queue and returns what is lost by that: what only memory had. A queue on disk waits for its
	// writes, for at most closeTimeout.
	Close() (Loss, error)
}
