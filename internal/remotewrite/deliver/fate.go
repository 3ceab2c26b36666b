package deliver

import "time"

// Reason is why the program dropped samples itself, without an answer of the receiver about them. A closed set.
type Reason string

// Reasons of senders.
const (
	TooOld      Reason = "too_old"     // older than sample_age_limit when they were to be sent
	Unsupported Reason = "unsupported" // remote write 1.0 cannot carry them, or send_native_histograms is off
	Damaged     Reason = "damaged"     // the queue gave back something else than was put in, or nothing
	// In a rejected request; the search for its bad series ended before it reached them.
	IsolationBudget Reason = "isolation_budget"
)

// Fate is what a sender reports, once for each POST, for each group of samples that is settled without one, and for
// each group of requests that leaves the queue. Fields that do not apply are zero. A 2.0 receiver that wrote 3 of 5
// samples:
//
//	Fate{Posted: true, Answered: true, Outcome: Refused, Answer: "400", Bytes: 310, Took: 12 * time.Millisecond,
//		Accepted: 3, Refused: 2, Complaint: "out_of_order"}
type Fate struct {
	Posted   bool // a POST has ended
	Bytes    int  // of its body that were sent
	Took     time.Duration
	Answered bool // the POST has an outcome; false if a stop interrupted it
	Outcome  Outcome
	Answer   string // one of Answers

	// Samples that are settled now. Together they are the samples that the sender will not send again.
	Accepted    int
	Delivered   int   // the receiver had them from an earlier process
	Refused     int   // for good
	Unsupported int   // the protocol cannot carry them
	Dropped     int   // by the program itself, for Reason
	Newest      int64 // newest timestamp of the accepted samples, Unix milliseconds
	Complaint   Complaint
	Reason      Reason

	Done int // samples of a group of requests that has left the queue, all settled before
}

// Settled returns the number of samples that are settled by this report.
func (f *Fate) Settled() int { return f.Accepted + f.Delivered + f.Refused + f.Unsupported + f.Dropped }

// DecidesRequest reports whether an answer ended the wait for a request: any outcome except Retry and SlowRetry.
func (f *Fate) DecidesRequest() bool {
	return f.Answered && f.Outcome != Retry && f.Outcome != SlowRetry
}
