package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bookmarkInterval is the time between two bookmarks of a watch.
const bookmarkInterval = time.Minute

// watch is one open watch.
type watch struct {
	server    *Server
	selector  selector
	bookmarks bool
	woken     chan struct{} // has room for one

	// server.mu guards the following.
	reached int64 // all changes up to this version were sent
	cut     bool  // it ends
}

// wake has the watch look for changes.
func (w *watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// watch sends events until it is cut, its time is up, or the client goes away.
func (s *Server) watch(out *output, r *http.Request, sel selector) {
	q := r.URL.Query()
	w := &watch{
		server: s, selector: sel, bookmarks: q.Get("allowWatchBookmarks") == "true", woken: make(chan struct{}, 1),
	}
	from, _ := strconv.ParseInt(q.Get("resourceVersion"), 10, 64)
	streams := q.Get("sendInitialEvents") == "true"
	first, ok := s.open(out, w, from, streams)
	if !ok {
		return
	}
	defer s.forget(w)
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(http.StatusOK)
	if out.half {
		_, _ = out.Write([]byte(`{"type":"ADDED","object":{"kind":"Po`))
		_ = http.NewResponseController(out.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	w.run(out, r, first)
}

// tooLarge answers a request for a version that does not exist yet.
func (o *output) tooLarge() {
	const message = "Too large resource version"
	o.status(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, message,
		metav1.StatusCause{Type: metav1.CauseTypeResourceVersionTooLarge, Message: message})
}

// open adds the watch. It returns the events with which it begins, or false if it has answered itself.
func (s *Server) open(out *output, w *watch, from int64, streams bool) (first []byte, ok bool) {
	s.mu.Lock()
	shown := s.shown()
	_, history := shown.changesAfter(from)
	inBody := s.rnd.IntN(2) == 0 // both forms of 410 are usual
	refuse := func() {}
	switch {
	case streams && !s.streams:
		refuse = func() {
			out.status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid,
				"sendInitialEvents is forbidden: the feature WatchList is disabled")
		}
	case from > shown.version:
		refuse = out.tooLarge
	case from > 0 && !streams && !history && inBody:
		refuse = func() {
			out.json(http.StatusOK, []byte(`{"type":"ERROR","object":`+
				string(statusOf(http.StatusGone, metav1.StatusReasonExpired, expired))+"}\n"))
		}
	case from > 0 && !streams && !history:
		refuse = func() { out.status(http.StatusGone, metav1.StatusReasonExpired, expired) }
	default:
		ok = true
		w.reached = from
		if from == 0 || streams {
			w.reached = shown.version
			for _, o := range shown.sorted() {
				if w.selector.matches(o) {
					first = appendEvent(first, "ADDED", o.raw)
				}
			}
		}
		if streams {
			first = appendBookmark(first, w.reached, true)
		}
		s.watches = append(s.watches, w)
		w.cut = s.closed
	}
	s.mu.Unlock()
	if !ok {
		refuse()
	}
	return first, ok
}

// forget removes a watch.
func (s *Server) forget(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches = slices.DeleteFunc(s.watches, func(other *watch) bool { return other == w })
}

// run sends the first events, and then others as they come.
func (w *watch) run(out *output, r *http.Request, events []byte) {
	s, flush := w.server, http.NewResponseController(out.ResponseWriter).Flush
	s.mu.Lock()
	life := 2*time.Minute + time.Duration(s.rnd.Int64N(int64(8*time.Minute)))
	spread := time.Duration(s.rnd.Int64N(int64(time.Second)))
	s.mu.Unlock()
	if asked, err := strconv.Atoi(r.URL.Query().Get("timeoutSeconds")); err == nil && asked > 0 {
		life = min(life, time.Duration(asked)*time.Second+spread)
	}
	end, bookmark := time.NewTimer(life), time.NewTicker(bookmarkInterval+spread)
	defer end.Stop()
	defer bookmark.Stop()
	over, marks := false, false
	for {
		if len(events) > 0 {
			_, _ = out.Write(events)
		}
		if flush() != nil || over {
			return
		}
		select {
		case <-w.woken:
		case <-bookmark.C:
			marks = w.bookmarks
		case <-end.C:
			over = true
		case <-r.Context().Done():
			return
		}
		var cut bool
		if events, cut = w.pending(marks); cut {
			panic(http.ErrAbortHandler)
		}
		marks = false
	}
}

// pending returns the events that were not sent yet, with a bookmark if one is due. It returns true if the watch ends.
func (w *watch) pending(bookmark bool) (events []byte, cut bool) {
	s := w.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.cut {
		return nil, true
	}
	if _, silent := s.has(Silent); silent {
		return nil, false
	}
	shown := s.shown()
	changes, ok := shown.changesAfter(w.reached)
	if !ok { // the history was forgotten before the watch has read it
		return nil, true
	}
	for i := range changes {
		if kind, raw := w.selector.event(&changes[i]); raw != nil {
			events = appendEvent(events, kind, raw)
		}
		w.reached = changes[i].version
	}
	if bookmark {
		events = appendBookmark(events, w.reached, false)
	}
	return events, false
}

func appendEvent(b []byte, kind string, raw []byte) []byte {
	b = append(append(append(b, `{"type":"`...), kind...), `","object":`...)
	return append(append(b, raw...), "}\n"...)
}

// appendBookmark appends a bookmark. With initial, it ends the pods with which a stream begins.
func appendBookmark(b []byte, version int64, initial bool) []byte {
	annotations := ""
	if initial {
		annotations = fmt.Sprintf(`,"annotations":{%q:"true"}`, metav1.InitialEventsAnnotationKey)
	}
	return fmt.Appendf(b, `{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{`+
		`"resourceVersion":"%d","creationTimestamp":null%s},"spec":{"containers":null},"status":{}}}`+"\n",
		version, annotations)
}
