package via

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// maxAnswerWait limits the wait for the header of a response. The API server tries for 30 s to connect to a pod. That
// would keep a request's slot for the whole timeout of a scrape, so that a few unreachable pods made all others fail.
const maxAnswerWait = 3 * time.Second

var errNoAnswer = errors.New("no answer in time")

// answerWait ends a request whose response does not begin in time.
type answerWait struct {
	ctx    context.Context // of the request; it ends with end, or when the wait is over
	cancel context.CancelCauseFunc
	limit  time.Duration
	timer  *time.Timer
	sent   atomic.Bool // the API server has the request
}

// newAnswerWait begins a wait of maxAnswerWait, or of half of the time that ctx has left if that is shorter. The caller
// calls end, once the body is read.
func newAnswerWait(ctx context.Context) *answerWait {
	w := &answerWait{limit: maxAnswerWait}
	if deadline, ok := ctx.Deadline(); ok {
		w.limit = min(w.limit, time.Until(deadline)/2)
	}
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { w.sent.Store(info.Err == nil) },
	})
	w.timer = time.AfterFunc(w.limit, func() { w.cancel(errNoAnswer) })
	return w
}

// stop ends the wait because the response has begun. It returns false if the wait was over before.
func (w *answerWait) stop() bool { return w.timer.Stop() }

// isOver reports whether the response did not begin in time.
func (w *answerWait) isOver() bool { return context.Cause(w.ctx) == errNoAnswer }

// end ends the request.
func (w *answerWait) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// noAnswer returns the refusal of a pod whose answer did not begin within limit.
func noAnswer(pod Pod, limit time.Duration) *Refusal {
	return &Refusal{Reason: ReasonUnreachable, text: fmt.Sprintf("no route: the API server got no answer of pod %s "+
		"within %v", pod, limit.Round(time.Millisecond))}
}
