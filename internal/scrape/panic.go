package scrape

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// panicError says that a panic ended the reading of a page.
type panicError struct{ value any }

func (e *panicError) Error() string {
	return fmt.Sprintf("panic, which is a bug in envoy-scraper or in one of its libraries: %v", e.value)
}

// panics remembers which panics were logged. A panic with the same stack is logged once. The metric counts every panic.
type panics struct {
	mu     sync.Mutex
	logged map[stackKey]bool
}

// stackKey holds the innermost return addresses of a stack. Panics at the same place have the same key.
type stackKey [16]uintptr

// maxLoggedPanics limits how many different panics are logged.
const maxLoggedPanics = 100

// isNew reports whether no panic with this stack was logged before.
func (p *panics) isNew(at stackKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logged[at] || len(p.logged) >= maxLoggedPanics {
		return false
	}
	if p.logged == nil {
		p.logged = map[stackKey]bool{}
	}
	p.logged[at] = true
	return true
}

// readOrFail is read with a recover: a panic fails this scrape only. It also replaces the page, because the panic may
// have left the page half changed.
func (l *loop) readOrFail(ctx *scrapeContext, start, at time.Time) (r pageRead) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		r = pageRead{err: &panicError{value}}
		var stack stackKey
		runtime.Callers(1, stack[:])
		if l.env.panics.isNew(stack) {
			l.env.log.Error("scrape failed by a panic: please report it; the same panic is not logged again",
				zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown),
				zap.String("error", errorText(r.err)), zap.ByteString("stack", debug.Stack()))
		}
		l.forgetPage()
	}()
	return l.read(ctx, start, at)
}

// forgetPage replaces the page by an empty one. It releases the series of the old page, unless that panics too.
func (l *loop) forgetPage() {
	l.traits.learnAnew()
	l.turns.otherProcess()
	old := l.page
	l.page = exposition.NewPage(l.env.layouts, l.newLearner(), l.job.pageOptionsOf(l.target))
	defer func() { _ = recover() }()
	old.Abandon()
	old.Forget()
}
