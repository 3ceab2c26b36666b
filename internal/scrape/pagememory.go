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
	// pageBytes is the memory that reading one page takes: the buffer in which it is parsed (64 KiB) or, if it is
	// compressed, two buffers (96 KiB) and the tables of gzip, a goroutine's stack, and the samples of a usual page.
	// New lines take more.
	pageBytes = 128 << 10

	// defaultMaxMemory is used if Options.MaxMemory is not set.
	defaultMaxMemory = 256 << 20

	// minPages is the least number of pages that may be read concurrently.
	minPages = 8

	// A page stalls if fewer than stallBytes of it arrive within stallTime.
	stallTime     = time.Second
	stallBytes    = 4 << 10
	sweepInterval = stallTime / 4

	// memoryLogPause is the least time between two warnings that memory is used up.
	memoryLogPause = time.Minute
)

// pageMemory limits the memory of pages that are read concurrently. A scrape takes a lease of memory when the first
// byte of the response has come, and waits for it until its timeout. While scrapes wait, pages that stall are aborted,
// so that targets which hang within their pages do not block others. Safe for concurrent use. A nil pageMemory limits
// nothing.
type pageMemory struct {
	slots   *semaphore // one for each page being read
	metrics *metrics
	log     *zap.Logger

	mu       sync.Mutex // guards the following
	leases   map[*lease]struct{}
	sweep    *time.Timer // next abortStalled; nil: no scrape waits
	warned   time.Time   // when the current shortage was logged; zero: there is none
	lastWarn time.Time   // when a shortage was logged last
}

func newPageMemory(maxMemory int64, m *metrics, log *zap.Logger) *pageMemory {
	maxMemory -= int64(zstdPages(maxMemory)) * zstdPageBytes
	pages := max(minPages, int(min(maxMemory/pageBytes, 1<<30)))
	m.readingLimit.Set(float64(pages))
	return &pageMemory{slots: newSemaphore(pages), metrics: m, log: log, leases: map[*lease]struct{}{}}
}

// memoryError says that a scrape failed because memory for pages was used up.
type memoryError struct{ text string }

func (e *memoryError) Error() string { return e.text }

func (m *pageMemory) noMemoryError() error {
	return &memoryError{fmt.Sprintf("no memory for the page within the scrape timeout: %d pages are being read, "+
		"and --scrape.max-memory allows no more", m.slots.limit)}
}

var errStalled = &memoryError{fmt.Sprintf("the page stalled: fewer than %d bytes per second, "+
	"while other scrapes waited for memory (--scrape.max-memory)", stallBytes)}

// lease is the right to read one page into memory. A nil lease stands for no limit.
type lease struct {
	from    *pageMemory
	abort   func()       // ends the reading of the page
	read    atomic.Int64 // bytes of the page so far
	stalled atomic.Bool  // aborted by abortStalled

	// Guarded by pageMemory.mu.
	checked     time.Time // last check by abortStalled
	readAtCheck int64     // value of read at that time
}

// take waits for memory. Preferred scrapes go first. abort must end the reading of the page, from any goroutine. It is
// not called after end.
func (m *pageMemory) take(ctx context.Context, preferred bool, abort func()) (*lease, error) {
	if m == nil {
		return nil, nil
	}
	if !m.slots.tryAcquire() {
		m.metrics.memoryWaits.Inc()
		m.noteWait()
		if !m.slots.acquire(ctx, preferred, nil) {
			m.noteFree()
			if context.Cause(ctx) == context.DeadlineExceeded {
				return nil, m.noMemoryError()
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

// progress notes that n bytes of the page were read.
func (l *lease) progress(n int) {
	if l != nil {
		l.read.Add(int64(n))
	}
}

// explain returns errStalled if the page was aborted, else err, which reading the page returned.
func (l *lease) explain(err error) error {
	if l != nil && l.stalled.Load() {
		return errStalled
	}
	return err
}

// end gives the memory back and is called once. It returns false if the page was aborted.
func (l *lease) end() (ok bool) {
	if l == nil {
		return true
	}
	m := l.from
	m.mu.Lock()
	delete(m.leases, l)
	m.mu.Unlock()
	m.metrics.reading.Dec()
	m.slots.release()
	m.noteFree()
	return !l.stalled.Load()
}

// noteWait starts the search for stalled pages and logs that scrapes wait.
func (m *pageMemory) noteWait() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sweep == nil {
		m.sweep = time.AfterFunc(sweepInterval, m.abortStalled)
	}
	now := time.Now()
	if !m.warned.IsZero() || !m.lastWarn.IsZero() && now.Sub(m.lastWarn) < memoryLogPause {
		return
	}
	m.warned, m.lastWarn = now, now
	m.log.Warn("memory for pages is used up: scrapes wait for it and fail if they get none within their timeout; "+
		"targets respond slowly, or --scrape.max-memory is too small",
		zap.Int("pages", m.slots.limit), zap.Int("bytes", m.slots.limit*pageBytes))
}

// abortStalled aborts stalled pages, at most one for each waiting scrape.
func (m *pageMemory) abortStalled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep = nil
	_, waiting := m.slots.counts()
	if waiting == 0 {
		return
	}
	m.sweep = time.AfterFunc(sweepInterval, m.abortStalled)
	now := time.Now()
	for l := range m.leases {
		if now.Sub(l.checked) < stallTime {
			continue
		}
		read := l.read.Load()
		if read-l.readAtCheck < stallBytes && waiting > 0 && !l.stalled.Load() {
			l.stalled.Store(true)
			l.abort()
			waiting--
		}
		l.checked, l.readAtCheck = now, read
	}
}

// noteFree logs the end of a shortage, once no scrape waits and half of the memory is free.
func (m *pageMemory) noteFree() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warned.IsZero() {
		return
	}
	if held, waiting := m.slots.counts(); waiting > 0 || held > m.slots.limit/2 {
		return
	}
	m.log.Info("memory for pages is free again", zap.Duration("after", time.Since(m.warned)))
	m.warned = time.Time{}
}
