package scrape

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// pageBytes is what a scrape holds from the first byte of an answer to its last, beside what is learned of the page: the
	// chunk being parsed (64 KiB), what is read ahead (32 KiB) or the tables of gzip, a stack, and the samples of a usual page.
	pageBytes = 128 << 10

	// defaultMaxMemory is Options.MaxMemory where nothing is said.
	defaultMaxMemory = 256 << 20

	// leastPages are read at the same time however little memory there is.
	leastPages = 8

	// slowScrape is how long a scrape may keep others waiting before its target counts as slow.
	slowScrape = time.Second

	// memoryLogPause is the time between two log lines that memory for pages is used up.
	memoryLogPause = time.Minute
)

// pageMemory bounds the memory of all pages that are being read. A scrape takes its share when the first byte of the
// answer is there, and waits for it within its timeout. Safe for concurrent use. nil: no bound.
type pageMemory struct {
	gate    *gate
	metrics *metrics
	log     *zap.Logger

	mu       sync.Mutex // guards the following
	reported time.Time  // when the log said that memory is used up; zero: it is not
	last     time.Time  // when the log said so last
}

func newPageMemory(maxMemory int64, m *metrics, log *zap.Logger) *pageMemory {
	if maxMemory <= 0 {
		maxMemory = defaultMaxMemory
	}
	pages := max(leastPages, int(min(maxMemory/pageBytes, 1<<30)))
	m.readingLimit.Set(float64(pages))
	return &pageMemory{gate: newGate(pages), metrics: m, log: log}
}

// noMemoryError is a scrape that found no memory for its page in time.
type noMemoryError struct{ pages int }

func (e *noMemoryError) Error() string {
	return fmt.Sprintf("no memory for the page within the scrape timeout: %d pages are being read, and --scrape.max-memory allows no more", e.pages)
}

// Unwrap says that it was the timeout that ended the scrape.
func (e *noMemoryError) Unwrap() error { return context.DeadlineExceeded }

// lease is one page's share of pageMemory. The zero lease holds nothing.
type lease struct {
	from   *pageMemory
	place  *place
	waited time.Duration // for the first byte
	since  time.Time
}

// take waits for memory. waited is how long the scrape waited for its target until now.
func (m *pageMemory) take(ctx context.Context, at *place, waited time.Duration) (lease, error) {
	if m == nil {
		return lease{}, nil
	}
	if slow := at.isSlow(); !m.gate.tryEnter(slow) {
		m.metrics.memoryWaits.Inc()
		m.usedUp()
		if !m.gate.enter(ctx, slow) {
			if context.Cause(ctx) == context.DeadlineExceeded {
				return lease{}, &noMemoryError{m.gate.limit}
			}
			return lease{}, context.Cause(ctx)
		}
	}
	m.metrics.reading.Inc()
	return lease{m, at, waited, time.Now()}, nil
}

// end gives the share back, once.
func (l *lease) end() {
	if l.from == nil {
		return
	}
	l.place.took(l.waited + time.Since(l.since))
	l.from.metrics.reading.Dec()
	l.from.gate.leave()
	l.from.free()
	*l = lease{}
}

// usedUp tells the log that scrapes wait, once until that is over.
func (m *pageMemory) usedUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if !m.reported.IsZero() || !m.last.IsZero() && now.Sub(m.last) < memoryLogPause {
		return
	}
	m.reported, m.last = now, now
	m.log.Warn("memory for pages is used up: scrapes wait for it, and fail if that takes longer than their timeout; "+
		"targets answer slowly, or --scrape.max-memory is too small for them",
		zap.Int("pages", m.gate.limit), zap.Int("bytes", m.gate.limit*pageBytes))
}

// free tells the log that nobody waits any more, when half of the memory is free.
func (m *pageMemory) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reported.IsZero() {
		return
	}
	if held, waiting := m.gate.load(); waiting > 0 || held > m.gate.limit/2 {
		return
	}
	m.log.Info("memory for pages is free again", zap.Duration("after", time.Since(m.reported)))
	m.reported = time.Time{}
}
