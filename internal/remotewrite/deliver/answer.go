package deliver

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Outcome is what an answer means for the request.
type Outcome int

const (
	Accepted Outcome = iota
	Retry
	SlowRetry
	Refused
	OtherProtocol
	Split   // the request is too large: send it in parts
	Isolate // a 1.0 receiver rejected the request because of some of its series: find these
)

// Outcomes are all of them.
var Outcomes = []Outcome{Accepted, Retry, SlowRetry, Refused, OtherProtocol, Split, Isolate}

// String is the value of the label outcome.
func (o Outcome) String() string {
	return [...]string{"accepted", "retry", "slow_retry", "refused", "other_protocol", "split", "isolate"}[o]
}

// Answer is what came back from one POST.
type Answer struct {
	Status  int
	Header  http.Header
	Message string // start of the body, for people
	Err     error  // set if there was no answer
	Took    time.Duration
	Unsent  bool // there was no connection: nothing of the body was sent
	// BodyInUse: the transport may still read the body of the request.
	BodyInUse bool
}

// requestInfo is what the meaning of an answer depends on, beside the answer.
type requestInfo struct {
	sent             wire.Protocol
	retryOnRateLimit bool
	unproven         bool // 2.0 was not configured, and the receiver has never confirmed that it knows 2.0
}

// classify returns the meaning of an answer, which decides what happens next to the request. Other code that looks at a
// status: conclude calls ambiguous, refuseRest looks for 400, complaintOf for 413, Post for 3xx and 5xx,
// and the log for 3xx.
func classify(a Answer, c requestInfo) Outcome {
	_, confirmed := Written(a.Header)
	switch {
	case a.Err == nil && c.sent == wire.V2 && c.unproven && !confirmed && a.ambiguous():
		return OtherProtocol
	case a.Err != nil || a.Status >= 500:
		return Retry
	case a.Status >= 200 && a.Status < 300:
		if c.sent == wire.V2 && !confirmed {
			return OtherProtocol // a 1.0 receiver that found no field it knows, and answered success
		}
		return Accepted
	case a.Status < 400:
		return SlowRetry // a redirect that must not be followed: somebody has to correct the configuration
	case a.Status == http.StatusTooManyRequests && c.retryOnRateLimit:
		return Retry
	case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden:
		return SlowRetry // tokens rotate
	case a.Status == http.StatusUnsupportedMediaType:
		return OtherProtocol
	case a.Status == http.StatusRequestEntityTooLarge:
		return Split
	case a.Status == http.StatusBadRequest && c.sent == wire.V2 && c.unproven && !confirmed:
		return OtherProtocol // a receiver that read the body as 1.0 and found it malformed
	case a.Status == http.StatusBadRequest && c.sent == wire.V1:
		return Isolate
	default:
		return Refused
	}
}

// ambiguous reports whether the answer to 2.0 leaves open what is wrong. A gateway that does not know the content
// type of 2.0 may answer so, or a 1.0 receiver that cannot read the body, but also a wrong path or a broken receiver.
// So the same samples are sent as 1.0, and only if that succeeds the endpoint changes to 1.0.
func (a Answer) ambiguous() bool {
	switch a.Status {
	case http.StatusNotFound, http.StatusNotAcceptable, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// Answers are the values of the label answer: statuses with a meaning of their own, the classes of the other
// statuses, and what went wrong if there was no answer.
var Answers = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "400", "401", "403", "404", "409", "413", "415", "422", "429",
	"timeout", "dns", "refused", "network"}

// kind returns the value of the label answer.
func (a Answer) kind() string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case a.Err == nil && a.Status/100 == 2:
		return "2xx"
	case a.Err == nil:
	case errors.As(a.Err, &dns):
		return "dns"
	case errors.As(a.Err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(a.Err, syscall.ECONNREFUSED):
		return "refused"
	default:
		return "network"
	}
	if code := strconv.Itoa(a.Status); slices.Contains(Answers, code) {
		return code
	}
	return strconv.Itoa(min(max(a.Status/100, 1), 5)) + "xx"
}

// Written returns the number of samples that a 2.0 receiver has written, and whether it says so in a header.
func Written(h http.Header) (samples int, confirmed bool) {
	for _, name := range []string{"Samples", "Histograms", "Exemplars"} {
		v := h.Get("X-Prometheus-Remote-Write-" + name + "-Written")
		if v == "" {
			continue
		}
		confirmed = true
		if n, err := strconv.Atoi(v); err == nil && n > 0 && name != "Exemplars" {
			samples += n
		}
	}
	return samples, confirmed
}

// maxRetryAfter bounds the pause that a receiver may ask for.
const maxRetryAfter = 5 * time.Minute

// retryAfter returns the pause that the receiver asks for in seconds or with an HTTP date; 0 if it does not, or if
// the date has passed.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil {
		d = time.Duration(max(0, min(seconds, int64(maxRetryAfter/time.Second)))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = time.Until(at)
	}
	return max(0, min(d, maxRetryAfter))
}
