package remotewrite

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

// outcome is what an answer means for the request.
type outcome int

const (
	accepted outcome = iota
	retry
	slowRetry
	refused
	otherProtocol
	split   // too large: in parts
	isolate // a 1.0 receiver took nothing of it, because of some: in parts
)

var outcomes = []outcome{accepted, retry, slowRetry, refused, otherProtocol, split, isolate}

func (o outcome) String() string {
	return [...]string{"accepted", "retry", "slow_retry", "refused", "other_protocol", "split", "isolate"}[o]
}

// answer is what came back from one POST.
type answer struct {
	status  int
	header  http.Header
	message string // the start of the body, for people
	err     error  // no answer at all
	took    time.Duration
	unsent  bool // there was no connection: nothing of the body has left
	// bodyInUse: the transport has not let go of the request's body yet.
	bodyInUse bool
}

// circumstances are what an answer's meaning depends on beside itself.
type circumstances struct {
	sent             wire.Protocol
	retryOnRateLimit bool
	unproven         bool // 2.0 was our own idea, and this endpoint never confirmed that it knows it
}

// classify is the only place that gives an answer a meaning.
func classify(a answer, c circumstances) outcome {
	_, confirmed := written(a.header)
	switch {
	case a.err == nil && c.sent == wire.V2 && c.unproven && !confirmed && a.vague():
		return otherProtocol
	case a.err != nil || a.status >= 500:
		return retry
	case a.status >= 200 && a.status < 300:
		if c.sent == wire.V2 && !confirmed {
			return otherProtocol // a 1.0 receiver that found nothing it knows in the body, and said fine
		}
		return accepted
	case a.status < 400:
		return slowRetry // a redirect that must not be followed: the configuration needs a hand
	case a.status == http.StatusTooManyRequests && c.retryOnRateLimit:
		return retry
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return slowRetry // tokens rotate
	case a.status == http.StatusUnsupportedMediaType:
		return otherProtocol
	case a.status == http.StatusRequestEntityTooLarge:
		return split
	case a.status == http.StatusBadRequest && c.sent == wire.V2 && c.unproven && !confirmed:
		return otherProtocol // a receiver that read the body as 1.0 and found it malformed
	case a.status == http.StatusBadRequest && c.sent == wire.V1:
		return isolate
	default:
		return refused
	}
}

// vague reports whether the answer to 2.0 leaves open what is wrong. A gateway that does not know the content type of
// 2.0, or a 1.0 receiver that cannot read the body, may answer so. A wrong path or a broken receiver may, too. So 1.0
// is tried with the same samples, and only its success turns the endpoint to 1.0.
func (a answer) vague() bool {
	switch a.status {
	case http.StatusNotFound, http.StatusNotAcceptable, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// answers names what an answer was, for a counter: statuses that mean something of their own, the classes of all
// others, and what went wrong where there was no answer.
var answers = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "400", "401", "403", "404", "409", "413", "415", "422", "429",
	"timeout", "dns", "refused", "network"}

// kind is the one of answers that a is.
func (a answer) kind() string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case a.err == nil && a.status/100 == 2:
		return "2xx"
	case a.err == nil:
	case errors.As(a.err, &dns):
		return "dns"
	case errors.As(a.err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(a.err, syscall.ECONNREFUSED):
		return "refused"
	default:
		return "network"
	}
	if code := strconv.Itoa(a.status); slices.Contains(answers, code) {
		return code
	}
	return strconv.Itoa(min(max(a.status/100, 1), 5)) + "xx"
}

// written is how many samples a 2.0 receiver says it has written, and whether it says anything.
func written(h http.Header) (samples int, confirmed bool) {
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

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 5 * time.Minute

// retryAfter is how long the receiver wants to be left alone: seconds or an HTTP date; 0 if it does not say
// or the date is past.
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
