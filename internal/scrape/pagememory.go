package scrape

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// pageBytes is the memory of a scrape from the first byte of an answer to its last: the chunk being parsed (64
	// KiB), the buffer that reads ahead (32 KiB) or the tables of gzip, a stack, and the samples of a usual page.
	// Learning new lines comes on top.
	pageBytes = 128 << 10

	// defaultMaxMemory is Options.MaxMemory where nothing is said.
	defaultMaxMemory = 256 << 20

	// leastPages are read at the same time however little memory there is.
	leastPages = 8

	// A page stalls if fewer than stallBytes of it come in stallTime.
	stallTime  = time.Second
	stallBytes = 4 << 10
	sweepTime  = stallTime / 4

	// memoryLogPause is the least time between two log lines that memory for pages is used up.
	memoryLogPause = time.Minute
)

// pageMemory bounds the memory of all pages that are being read. A scrape takes its share when the first byte of the
// answer is there, and waits for it within its timeout. While scrapes wait, a page that stalls gives up its share, so
// that targets that hang in the middle of their pages do not block the others. Safe for concurrent use. nil: no bound.
type pageMemory struct {
	gate    *gate
	metrics *metrics
	log     *zap.Logger

	mu       sync.Mutex // guards the following
	leases   map[*lease]struct{}
	sweep    *time.Timer // looks for pages that stall; nil: nobody waits
	reported time.Time   // when the log said that memory is used up; zero: it is not
	last     time.Time   // when the log said so last
}

func newPageMemory(maxMemory int64, m *metrics, log *zap.Logger) *pageMemory {
	if maxMemory <= 0 {
		maxMemory = defaultMaxMemory
	}
	pages := max(leastPages, int(min(maxMemory/pageBytes, 1<<30)))
	m.readingLimit.Set(float64(pages))
	return &pageMemory{gate: newGate(pages), metrics: m, log: log, leases: map[*lease]struct{}{}}
}

// memoryError is a scrape that failed because memory for pages was used up.
type memoryError struct{ text string }

func (e *memoryError) Error() string { return e.text }

func (m *pageMemory) noMemory() error {
	return &memoryError{fmt.Sprintf("no memory for the page within the scrape timeout: %d pages are being read, and --scrape.max-memory allows no more", m.gate.limit)}
}

var errStalled = &memoryError{fmt.Sprintf("the page stalled, with fewer than %d bytes in a second, while other scrapes waited for memory (--scrape.max-memory)", stallBytes)}

// lease is one page's share of pageMemory. A nil lease holds nothing.
type lease struct {
	from  *pageMemory
	abort func()       // ends whatever reads the page
	read  atomic.Int64 // bytes of the page
	lost  atomic.Bool  // given up for others

	// Guarded by pageMemory.mu.
	checked time.Time // when read was looked at last
	before  int64     // what it was then
}

// take waits for memory. proven says that the target's last page was read to its end: such a scrape goes before others.
// abort must end reading the page, from any goroutine; it is not called after end.
func (m *pageMemory) take(ctx context.Context, proven bool, abort func()) (*lease, error) {
	if m == nil {
		return nil, nil
	}
	if !m.gate.tryEnter() {
		m.metrics.memoryWaits.Inc()
		m.usedUp()
		if !m.gate.enter(ctx, proven, nil) {
			m.freed()
			if context.Cause(ctx) == context.DeadlineExceeded {
				return nil, m.noMemory()
			}
			return nil, context.Cause(ctx)
		}
	}
	l := &lease{from: m, abort: abort, checked: time.Now()}
	m.mu.Lock()
	m.leases[l] = struct{}{}
	m.mu.Unlock()
	m.metrics.reading.Inc()
	return l, nil
}

// progress notes that n bytes of the page came.
func (l *lease) progress(n int) {
	if l != nil {
		l.read.Add(int64(n))
	}
}

// because returns why reading the page failed with err.
func (l *lease) because(err error) error {
	if l != nil && l.lost.Load() {
		return errStalled
	}
	return err
}

// end gives the share back, once. It tells whether the page was left alone until then.
func (l *lease) end() (whole bool) {
	if l == nil {
		return true
	}
	m := l.from
	m.mu.Lock()
	delete(m.leases, l)
	m.mu.Unlock()
	m.metrics.reading.Dec()
	m.gate.leave()
	m.freed()
	return !l.lost.Load()
}

// usedUp begins to look for pages that stall, and tells the log that scrapes wait.
func (m *pageMemory) usedUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sweep == nil {
		m.sweep = time.AfterFunc(sweepTime, m.abortStalled)
	}
	now := time.Now()
	if !m.reported.IsZero() || !m.last.IsZero() && now.Sub(m.last) < memoryLogPause {
		return
	}
	m.reported, m.last = now, now
	m.log.Warn("memory for pages is used up: scrapes wait for it, and fail if that takes longer than their timeout; "+
		"targets answer slowly, or --scrape.max-memory is too small for them",
		zap.Int("pages", m.gate.limit), zap.Int("bytes", m.gate.limit*pageBytes))
}

// abortStalled ends as many pages that stall as scrapes wait.
func (m *pageMemory) abortStalled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep = nil
	_, waiting := m.gate.load()
	if waiting == 0 {
		return
	}
	m.sweep = time.AfterFunc(sweepTime, m.abortStalled)
	now := time.Now()
	for l := range m.leases {
		if now.Sub(l.checked) < stallTime {
			continue
		}
		read := l.read.Load()
		if read-l.before < stallBytes && waiting > 0 && !l.lost.Load() {
			l.lost.Store(true)
			l.abort()
			waiting--
		}
		l.checked, l.before = now, read
	}
}

// freed tells the log that nobody waits any more, once half of the memory is free.
func (m *pageMemory) freed() {
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
