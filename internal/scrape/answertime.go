package scrape

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// answerTimer measures how long the target of a scrape takes to answer: from the request sent to the first byte of the
// response. Both clients find it in the context of the scrape. If there are several requests (redirects, or an idle
// connection that was closed), the last one counts. Example of a scrape that waits for memory:
//
//	0.0 s  begins
//	0.2 s  sent      a connection is open, and the request is written
//	1.7 s  answered  the first byte has come, so the target took 1.5 s
//	2.7 s  reading   memory for the page is free
//
// Safe for concurrent use: net/http reports from goroutines of its own, even after the scrape. A nil answerTimer does
// nothing.
type answerTimer struct {
	began time.Time
	at    [moments]atomic.Int64 // nanoseconds since began, and 1; 0: not yet
}

// moment is a step of a request.
type moment int

const (
	requestSent moment = iota
	firstByte          // of the response
	bodyRead           // memory is there, and the response is read from now on
	moments
)

type answerKey struct{}

// answerTimerOf returns the timer of a request; nil: nobody wants to know.
func answerTimerOf(ctx context.Context) *answerTimer {
	t, _ := ctx.Value(answerKey{}).(*answerTimer)
	return t
}

// note notes that a request has come to m now.
func (t *answerTimer) note(m moment) {
	if t != nil {
		t.at[m].Store(int64(time.Since(t.began)) + 1)
	}
}

// traceAnswer returns a request that net/http sends like req. It tells the timer of its context what happens.
func traceAnswer(req *http.Request) *http.Request {
	t := answerTimerOf(req.Context())
	if t == nil {
		return req
	}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { t.note(requestSent) },
		GotFirstResponseByte: func() { t.note(firstByte) },
	}))
}

// answer returns whether the target was sent a request, and how long it took to answer, after a scrape that took so
// long. If the scrape was cut off by its timeout, the time counts in which it waited for the page or read it.
func (t *answerTimer) answer(scrape time.Duration, cutOff bool) (asked bool, took time.Duration) {
	of := func(m moment) time.Duration { return time.Duration(t.at[m].Load()) }
	sent, answered, reading := of(requestSent), of(firstByte), of(bodyRead)
	switch {
	case sent == 0:
		return false, 0
	case answered < sent && cutOff:
		return true, scrape - sent
	case answered < sent: // it failed before; or net/http noted the answer before the request
		return true, 0
	case cutOff && reading >= answered:
		return true, answered - sent + scrape - reading
	default:
		return true, answered - sent
	}
}
