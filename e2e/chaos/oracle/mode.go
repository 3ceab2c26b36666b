package oracle

import (
	"net/http"
	"strconv"
	"time"
)

// Mode is a way for a receiver to behave.
type Mode struct {
	refuse     bool   // nobody listens
	hole       bool   // accepts connections, never answers
	only1      bool   // 2.0 is answered with 415
	bulk       string // name of metrics of which samples are only counted; empty: none
	silent     bool   // no Written headers
	status     int
	delay      time.Duration
	body       string
	header     map[string]string
	retryAfter func(now time.Time) string
	judge      func(Message, []Sample) int
}

// Up takes everything.
func Up() Mode { return Mode{status: http.StatusNoContent} }

// Refuse closes the port and every connection.
func Refuse() Mode { return Mode{refuse: true} }

// BlackHole accepts connections and never answers.
func BlackHole() Mode { return Mode{hole: true} }

// Status answers every request with a status and takes nothing unless that is 2xx.
func Status(status int, body string) Mode { return Mode{status: status, body: body} }

// Judged answers each request with what judge says of it.
func Judged(judge func(Message, []Sample) int) Mode { return Mode{judge: judge} }

// Slow takes everything, after a while.
func (m Mode) Slow(d time.Duration) Mode {
	m.delay = d
	return m
}

// Only1 answers 2.0 with 415.
func (m Mode) Only1() Mode {
	m.only1 = true
	return m
}

// Silent leaves out the headers that tell how much of a 2.0 request was written.
func (m Mode) Silent() Mode {
	m.silent = true
	return m
}

// Bulk only counts the samples of 2.0 requests in which a name is: keeping millions would tell of the receiver.
func (m Mode) Bulk(name string) Mode {
	m.bulk = name
	return m
}

// With adds a header to the answers.
func (m Mode) With(name, value string) Mode {
	m.header = map[string]string{name: value}
	return m
}

// RetryAfter adds a Retry-After in seconds.
func (m Mode) RetryAfter(seconds int) Mode {
	m.retryAfter = func(time.Time) string { return strconv.Itoa(seconds) }
	return m
}

// RetryAfterDate adds a Retry-After as a date, so many seconds from each answer.
func (m Mode) RetryAfterDate(seconds int) Mode {
	m.retryAfter = func(now time.Time) string {
		return now.Add(time.Duration(seconds) * time.Second).UTC().Format(http.TimeFormat)
	}
	return m
}

// until is when a request that was answered at now may come again.
func (m Mode) until(now time.Time) time.Time {
	v := m.retryAfter(now)
	if seconds, err := strconv.Atoi(v); err == nil {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return now
	}
	return at
}
