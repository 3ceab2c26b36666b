package discovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// rights holds what the API server answered about the needs of one discovery.
type rights struct {
	asked  time.Time // when all rights were known to be granted; zero: not yet
	empty  bool      // there were no objects at that time
	denied string    // missing rights, and why; empty: none, or not asked yet
}

// grant holds what the API server answered about one kind of object in one namespace.
type grant struct {
	known  bool   // both questions, list and watch, were answered
	tries  int    // attempts that ended without an answer to both
	empty  bool   // there were no objects
	denied string // "may not list pods in namespace shop (403 Forbidden)"; empty: allowed
}

// probe asks for the rights that are not known yet. If all are known, it asks only for /version.
func (s *server) probe(ctx context.Context) {
	providers := s.users()
	questions := s.questions(providers)
	if len(questions) == 0 {
		s.cheap++
		a, err := s.isAlive(ctx)
		s.conclude(ctx, a, err)
		return
	}
	s.cheap = 0
	r := &round{server: s, questions: questions}
	a, err := r.run(ctx)
	// The server may leave only these questions unanswered: unless nothing was ever answered, /version decides.
	if a == answerNone && ctx.Err() == nil && (r.answered || s.hasAnswered()) {
		a, err = s.isAlive(ctx)
	}
	s.conclude(ctx, a, err)
	if a == answerUnknown {
		s.forgetAll() // the next probe asks for rights again: /version may need no credentials
	}
	s.open++
	if a == answerOK && s.judgeAll(providers) {
		s.open = 0
	}
}

// hasAnswered reports whether the server has answered a question about rights.
func (s *server) hasAnswered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.known {
			return true
		}
	}
	return false
}

// isAlive asks for /version, within the timeout of one question.
func (s *server) isAlive(ctx context.Context) (answer, error) {
	asking, cancel := context.WithTimeout(ctx, s.pace.ask)
	defer cancel()
	return s.client.alive(asking)
}

// questions lists the questions of the next probe. Discoveries that share a question get one answer. Unanswered
// questions come last, so that a question that is never answered does not delay the others.
func (s *server) questions(providers []*provider) []need {
	foundNothing := make([]bool, len(providers)) // before s.mu is locked: a provider's mu comes before it
	for i, p := range providers {
		foundNothing[i] = p.foundNothing()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.cheap >= fullEvery
	var questions []need
	listed := map[need]bool{}
	for i, p := range providers {
		waiting := foundNothing[i]
		for _, n := range p.needs {
			g := s.grants[n.question()]
			settled := g.known && g.denied == "" && !(waiting && n.primary && !g.empty)
			if q := n.question(); !listed[q] && (all || !settled) {
				listed[q] = true
				questions = append(questions, q)
			}
		}
	}
	slices.SortStableFunc(questions, func(a, b need) int { return cmp.Compare(s.grants[a].tries, s.grants[b].tries) })
	return questions
}

// question returns n without what is specific to one discovery, for use as a key.
func (n need) question() need {
	n.primary = false
	return n
}

// forget deletes the grants of a discovery, so that the next probe asks again. s.mu is held.
func (s *server) forget(p *provider) {
	for _, n := range p.needs {
		delete(s.grants, n.question())
	}
}

func (s *server) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.grants)
}

// doubtRights makes the next probe ask for the rights of a discovery again, unless some are known to be missing.
func (s *server) doubtRights(p *provider) {
	p.mu.Lock()
	doubtful := p.rights.denied == ""
	if doubtful {
		p.rights = rights{}
	}
	p.mu.Unlock()
	if doubtful {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(p)
	}
}

// round asks questions, up to concurrentQuestions concurrently. It ends early if the server does not accept our
// credentials, if the first question gets no answer, or if concurrentQuestions in a row get no answer.
type round struct {
	server    *server
	questions []need

	mu         sync.Mutex // guards the following
	next       int        // index of the next question
	answered   bool       // at least one question was answered
	unanswered int        // questions in a row without an answer
	end        answer     // answerNone or answerUnknown: why the round ended early
	err        error      // of end; nil: the round goes on
}

// run returns answerOK if the server answered, whether or not it granted the rights.
func (r *round) run(ctx context.Context) (answer, error) {
	var asking sync.WaitGroup
	for range min(concurrentQuestions, len(r.questions)) {
		asking.Go(func() {
			for n, ok := r.take(ctx); ok; n, ok = r.take(ctx) {
				r.ask(ctx, n)
			}
		})
	}
	asking.Wait()
	switch {
	case r.err != nil:
		return r.end, r.err
	case !r.answered:
		return answerNone, ctx.Err() // ctx ended before a question was asked
	default:
		return answerOK, nil
	}
}

// take returns the next question. It returns false when all were asked or the round has ended.
func (r *round) take(ctx context.Context) (need, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.questions) || r.err != nil || ctx.Err() != nil {
		return need{}, false
	}
	r.next++
	return r.questions[r.next-1], true
}

// ask asks whether we may list the objects of n, then whether we may watch them, and stores the answer.
func (r *round) ask(ctx context.Context, n need) {
	var empty bool
	a, err := r.put(ctx, func(ctx context.Context) (a answer, err error) {
		a, empty, err = r.server.client.list(ctx, n)
		return a, err
	})
	verb := "list"
	if a == answerOK {
		verb = "watch"
		a, err = r.put(ctx, func(ctx context.Context) (answer, error) { return r.server.client.watch(ctx, n) })
	}
	g := grant{known: true, empty: empty}
	switch a {
	case answerOK:
	case answerDenied:
		g.denied = fmt.Sprintf("may not %s %s (%v)", verb, n, err)
	case answerMissing:
		g.denied = fmt.Sprintf("has no %s (%v)", n, err)
	default:
		g = grant{}
	}
	r.server.keep(n, g)
}

// put asks one question, with a timeout. The first answer of a round makes the server reachable at once.
func (r *round) put(ctx context.Context, question func(context.Context) (answer, error)) (answer, error) {
	asking, cancel := context.WithTimeout(ctx, r.server.pace.ask)
	defer cancel()
	a, err := question(asking)
	r.mu.Lock()
	first := !r.answered && a != answerNone && a != answerUnknown
	switch {
	case a == answerUnknown:
		r.end, r.err = a, err
	case a != answerNone:
		r.answered, r.unanswered = true, 0
	default:
		r.unanswered++
		if !r.answered || r.unanswered >= concurrentQuestions {
			r.end, r.err = a, err
		}
	}
	r.mu.Unlock()
	if first {
		r.server.conclude(ctx, answerOK, nil)
	}
	return a, err
}

// keep stores an answer. Without an answer, the grant that was known before stays.
func (s *server) keep(n need, g grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.grants[n]; !g.known {
		g = before
		g.tries++
	}
	s.grants[n] = g
}

// judgeAll computes the rights of the discoveries. It returns true if all their questions were answered.
func (s *server) judgeAll(providers []*provider) bool {
	whole := true
	for _, p := range providers {
		known, empty := true, true
		var missing []string
		s.mu.Lock()
		for _, n := range p.needs {
			g := s.grants[n.question()]
			known = known && g.known
			empty = empty && (g.empty || !n.primary)
			if g.denied != "" {
				missing = append(missing, g.denied)
			}
		}
		s.mu.Unlock()
		r := rights{denied: strings.Join(missing, "; ")}
		if known {
			r.asked, r.empty = time.Now(), empty
		}
		s.judge(p, r)
		whole = whole && known
	}
	return whole
}

// judge stores the rights of a discovery, and logs a change.
func (s *server) judge(p *provider, r rights) {
	p.mu.Lock()
	before := p.rights
	if r.denied != "" {
		r.asked, r.empty = time.Time{}, false
	} else if before.empty && r.empty {
		r.asked = before.asked
	}
	p.rights = r
	jobs := slices.Clone(p.jobs)
	p.mu.Unlock()
	switch {
	case r.denied != "" && r.denied != before.denied:
		s.log.Error("Kubernetes API server refuses rights that discovery needs: grant get, list and watch",
			zap.Strings("job", jobs), zap.String("missing", r.denied))
	case r.denied == "" && before.denied != "":
		s.log.Info("Kubernetes API server grants the rights that discovery needs now", zap.Strings("job", jobs))
	}
}

// foundNothing reports whether the discovery has not delivered an update yet.
func (p *provider) foundNothing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first.IsZero()
}
