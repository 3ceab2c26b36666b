package remotewrite

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// tsdb is a receiver that judges samples as Prometheus does: a series takes what is newer than its newest sample, and
// that one again; a 1.0 request with anything else in it is rolled back whole, of a 2.0 request the rest is written. It
// keeps what it took, and counts what came twice and what came late.
type tsdb struct {
	*receiver
	rules tsdbRules

	stored   map[string]map[int64]uint64 // by labels and time
	newest   map[string]point
	twice    int            // samples that came again, equal
	late     map[string]int // by labels: samples that were not newer, nor equal
	offered  []offer
	rejected int // requests
}

type offer struct {
	at       time.Time
	protocol wire.Protocol
	samples  int
	status   int
}

// tsdbRules may be changed while samples flow, under mu.
type tsdbRules struct {
	only   wire.Protocol                                      // 0: it speaks both
	poison func(series string, p point) string                // words against a sample; "": fine
	fate   func(p wire.Protocol, samples int) *deliver.Answer // instead of all else; nil: none
	delay  time.Duration                                      // before an answer
}

func newTSDB(t *testing.T) *tsdb {
	return &tsdb{receiver: newReceiver(t), stored: map[string]map[int64]uint64{}, newest: map[string]point{},
		late: map[string]int{}}
}

func (db *tsdb) set(change func(r *tsdbRules)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	change(&db.rules)
}

// Post implements deliver.Client.
func (db *tsdb) Post(ctx context.Context, body []byte, p wire.Protocol, _ int) deliver.Answer {
	db.mu.Lock()
	delay := db.rules.delay
	db.mu.Unlock()
	if delay > 0 && !sleep(ctx, delay) {
		return deliver.Answer{Err: ctx.Err()} // nobody waits any more
	}
	return db.write(body, p)
}

func (db *tsdb) write(body []byte, p wire.Protocol) (a deliver.Answer) {
	got := db.decode(body, p)
	db.mu.Lock()
	defer db.mu.Unlock()
	defer func() {
		db.offered = append(db.offered, offer{time.Now(), p, len(got), a.Status})
	}()
	if db.rules.fate != nil {
		if a := db.rules.fate(p, len(got)); a != nil {
			return *a
		}
	}
	if db.rules.only != 0 && p != db.rules.only {
		return status(http.StatusUnsupportedMediaType)
	}
	var good []arrival
	var words string
	for _, s := range got {
		if against := db.judge(s); against != "" {
			words = cmp.Or(words, against)
			continue
		}
		good = append(good, s)
	}
	if p == wire.V1 && words != "" {
		db.rejected++
		return deliver.Answer{Status: 400, Header: http.Header{}, Message: words}
	}
	for _, s := range good {
		db.store(s)
	}
	a = fine(p, len(good))
	if words != "" {
		a.Status, a.Message = 400, words
	}
	return a
}

func (db *tsdb) judge(s arrival) string {
	if db.rules.poison != nil {
		if words := db.rules.poison(s.labels, s.point); words != "" {
			return words
		}
	}
	words := ""
	if newest, known := db.newest[s.labels]; known {
		words = refusal(&newest, s.point)
	}
	if words != "" {
		db.late[s.labels]++
	}
	return words
}

func (db *tsdb) store(s arrival) {
	if db.stored[s.labels] == nil {
		db.stored[s.labels] = map[int64]uint64{}
	}
	if _, again := db.stored[s.labels][s.at]; again {
		db.twice++
	}
	db.stored[s.labels][s.at] = s.bits
	db.newest[s.labels] = s.point
}

// distinct is how many samples it has.
func (db *tsdb) distinct() (n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, ps := range db.stored {
		n += len(ps)
	}
	return n
}

func (db *tsdb) disorder() (n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, late := range db.late {
		n += late
	}
	return n
}

func (db *tsdb) offers() []offer {
	db.mu.Lock()
	defer db.mu.Unlock()
	return append([]offer(nil), db.offered...)
}

// ServeHTTP lets it be asked over HTTP.
func (db *tsdb) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off
	}
	p := wire.V1
	if r.Header.Get("X-Prometheus-Remote-Write-Version") == "2.0.0" {
		p = wire.V2
	}
	a := db.Post(r.Context(), body, p, 0)
	if a.Err != nil {
		return
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Message)
}
