package scrape

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// panicError is a panic that ended the reading of a page.
type panicError struct{ value any }

func (e *panicError) Error() string {
	return fmt.Sprintf("panic, which is a bug in envoy-scraper or in one of its libraries: %v", e.value)
}

// panics knows where panics happened. Each place is logged once, with its stack; the metric counts them all.
type panics struct {
	mu   sync.Mutex
	seen map[callers]bool
}

// callers is the end of a stack. A panic at the same place for the same reason has the same.
type callers [16]uintptr

// maxPanics bounds how many places are logged.
const maxPanics = 100

// isNew reports whether no panic at this place was seen before.
func (p *panics) isNew(at callers) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[at] || len(p.seen) >= maxPanics {
		return false
	}
	if p.seen == nil {
		p.seen = map[callers]bool{}
	}
	p.seen[at] = true
	return true
}

// readOrFail is read, except that a panic fails the scrape and nothing else. The page is forgotten then: the panic may
// have left it half changed.
func (l *loop) readOrFail(ctx context.Context, start, at time.Time) (
	b *series.Batch, c exposition.Counts, size int64, err error,
) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		b, c, size, err = nil, exposition.Counts{}, 0, &panicError{value}
		var place callers
		runtime.Callers(1, place[:])
		if l.env.panics.isNew(place) {
			l.env.log.Error("scrape failed by a panic: please report it; the same one is not logged again",
				zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown),
				zap.String("error", inWords(err)), zap.ByteString("stack", debug.Stack()))
		}
		l.forgetPage()
	}()
	return l.read(ctx, start, at)
}

// forgetPage replaces the page by an empty one. What the old page holds is given back, unless the panic made that
// impossible.
func (l *loop) forgetPage() {
	old := l.page
	l.page = exposition.NewPage(l.env.layouts, l.newLearner(), l.job.pageOptionsOf(l.target))
	defer func() { _ = recover() }()
	old.Abandon()
	old.Forget()
}
