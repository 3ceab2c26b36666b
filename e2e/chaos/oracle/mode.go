package oracle

import (
	"net/http"
	"strconv"
	"time"
)

// Mode is how a receiver behaves.
type Mode struct {
	refuse     bool   // the port is closed
	hole       bool   // accepts connections and never answers
	only1      bool   // answers 2.0 with 415
	bulk       string // samples of this metric are counted, not recorded; empty: none
	silent     bool   // answers without X-Prometheus-Remote-Write-*-Written
	status     int
	delay      time.Duration
	body       string
	header     map[string]string
	retryAfter func(now time.Time) string
	judge      func(Message, []Sample) int
}

// Up accepts every request.
func Up() Mode { return Mode{status: http.StatusNoContent} }

// Refuse closes the port and every connection.
func Refuse() Mode { return Mode{refuse: true} }

// BlackHole accepts connections and never answers.
func BlackHole() Mode { return Mode{hole: true} }

// Status answers every request with a status. Only a 2xx accepts the samples.
func Status(status int, body string) Mode { return Mode{status: status, body: body} }

// Judged answers each request with the status that judge returns for it.
func Judged(judge func(Message, []Sample) int) Mode { return Mode{judge: judge} }

// Slow delays every answer by d.
func (m Mode) Slow(d time.Duration) Mode {
	m.delay = d
	return m
}

// Only1 answers 2.0 with 415.
func (m Mode) Only1() Mode {
	m.only1 = true
	return m
}

// Silent leaves out the headers that say how many samples of a 2.0 request were written.
func (m Mode) Silent() Mode {
	m.silent = true
	return m
}

// Bulk makes the receiver count the samples of 2.0 requests that contain the metric name, and not record them.
// Recording millions of samples would measure the receiver instead of the agent.
func (m Mode) Bulk(name string) Mode {
	m.bulk = name
	return m
}

// With adds a header to every answer.
func (m Mode) With(name, value string) Mode {
	m.header = map[string]string{name: value}
	return m
}

// RetryAfter adds the header Retry-After in seconds.
func (m Mode) RetryAfter(seconds int) Mode {
	m.retryAfter = func(time.Time) string { return strconv.Itoa(seconds) }
	return m
}

// RetryAfterDate adds the header Retry-After as a date, the given number of seconds after each answer.
func (m Mode) RetryAfterDate(seconds int) Mode {
	m.retryAfter = func(now time.Time) string {
		return now.Add(time.Duration(seconds) * time.Second).UTC().Format(http.TimeFormat)
	}
	return m
}

// until returns the earliest time for a retry of a request that was answered at now.
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
