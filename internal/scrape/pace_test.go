package scrape

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPace: letters are answers, one after the other: s slow, q quick, u unknown, n none. The numbers say for each
// answer after how many turns the target is asked again.
func TestPace(t *testing.T) {
	answers := map[rune]answer{'s': answerSlow, 'q': answerQuick, 'u': answerUnknown, 'n': answerNone}
	const usual, minute, long = 15 * time.Second, time.Minute, 61 * time.Second
	for _, c := range []struct {
		interval time.Duration
		answers  string
		turns    string
	}{
		{usual, "qqqq", "1111"},
		{usual, "s", "1"},            // one slow answer is an accident
		{usual, "sqsqsq", "1111 11"}, // so are several, one by one
		{usual, "ss", "12"},
		{usual, "qqqqqss", "1111 112"}, // quick answers before do not count
		{usual, "ssssssss", "1224 4444"},
		{usual, "ssq", "122"},
		{usual, "ssqq", "1221"},
		{usual, "ssssqqqqqq", "1224 4221 11"}, // step by step
		{usual, "ssqsqsqs", "1222 2222"},      // neither
		{usual, "ssqqss", "1221 12"},
		{usual, "ssqqs", "1221 1"},
		{usual, "sus", "112"}, // unknown says nothing
		{usual, "ssssuuuu", "1224 4444"},
		{usual, "ssssqunq", "1224 4411"},
		{usual, "sns", "111"}, // a target that is down is asked at every turn
		{usual, "ssssn", "1224 1"},
		{usual, "ssssnss", "1224 112"},
		{minute, "ssssss", "1222 22"},
		{minute, "ssssqq", "1222 21"},
		{long, "ssssss", "1111 11"},
	} {
		var p pace
		var got strings.Builder
		now, slowedAt := time.Unix(1_700_000_000, 0), time.Time{}
		for i, letter := range c.answers {
			now = now.Add(time.Minute)
			p = p.after(answers[letter], c.interval, now)
			if i > 0 && i%4 == 0 {
				got.WriteByte(' ')
			}
			fmt.Fprint(&got, p.turns())
			switch {
			case !p.slowed():
				slowedAt = time.Time{}
			case slowedAt.IsZero():
				slowedAt = now
			}
			if !p.slowedSince().Equal(slowedAt) {
				t.Errorf("%s, answer %d: slowed since %v, want %v", c.answers, i, p.slowedSince(), slowedAt)
			}
		}
		if got.String() != c.turns {
			t.Errorf("interval %v, %s: turns %s, want %s", c.interval, c.answers, got.String(), c.turns)
		}
	}
}

// TestPaceAfterAReload: the interval may be longer than before, and then the pace is what is allowed now.
func TestPaceAfterAReload(t *testing.T) {
	p := pace{every: 4, since: 1}
	for interval, want := range map[time.Duration]int{time.Second: 4, time.Minute: 2, time.Hour: 1} {
		if got := p.after(answerSlow, interval, time.Now()).turns(); got != want {
			t.Errorf("interval %v: asked again after %d turns, want %d", interval, got, want)
		}
	}
}

func TestScrapesOfASlowedTargetAreAtMostTwoMinutesApart(t *testing.T) {
	for interval, want := range map[time.Duration]int8{
		time.Second: 4, 15 * time.Second: 4, 30 * time.Second: 4, 31 * time.Second: 2, time.Minute: 2,
		61 * time.Second: 1, time.Hour: 1,
	} {
		if got := mostTurns(interval); got != want {
			t.Errorf("interval %v: %d turns, want %d", interval, got, want)
		}
	}
}

func TestSlowAnswers(t *testing.T) {
	for _, c := range []struct {
		interval, took time.Duration
		want           bool
	}{
		{15 * time.Second, 1500 * time.Millisecond, false},
		{15 * time.Second, 1501 * time.Millisecond, true},
		{time.Second, 250 * time.Millisecond, false},
		{time.Second, 251 * time.Millisecond, true},
	} {
		if got := c.took > SlowAfter(c.interval); got != c.want {
			t.Errorf("%v at an interval of %v: slow is %v", c.took, c.interval, got)
		}
	}
}

// TestAnswerOf has every reason of a failed scrape.
func TestAnswerOf(t *testing.T) {
	const unknown, quick, slow, none = answerUnknown, answerQuick, answerSlow, answerNone
	for failure, want := range map[string]struct{ notAsked, quick, slow answer }{
		"":                  {quick, quick, slow},
		"page":              {none, quick, slow},
		"body_size_limit":   {none, quick, slow},
		"sample_limit":      {none, quick, slow},
		"bucket_limit":      {none, quick, slow},
		"label_limit":       {none, quick, slow},
		"growth_limit":      {none, quick, slow},
		"status":            {none, none, slow},
		"timeout":           {none, unknown, slow},
		"refused":           {none, none, none},
		"network":           {none, none, none},
		"memory":            {unknown, unknown, unknown},
		"emfile":            {unknown, unknown, unknown},
		"panic":             {unknown, unknown, unknown},
		"target_limit":      {unknown, unknown, unknown},
		"forbidden_address": {unknown, unknown, unknown},
		"api_server":        {unknown, unknown, unknown},
		"via_limit":         {unknown, unknown, unknown},
		"via_rate":          {unknown, unknown, unknown},
	} {
		got := []answer{answerOf(failure, false, false), answerOf(failure, true, false), answerOf(failure, true, true)}
		if want := []answer{want.notAsked, want.quick, want.slow}; !slices.Equal(got, want) {
			t.Errorf("failure %q: %v, want %v (not asked, quick, slow)", failure, got, want)
		}
	}
}

// TestTimeOfAnAnswer: sent, answered and reading are seconds since the scrape began; 0: it did not come to that.
func TestTimeOfAnAnswer(t *testing.T) {
	const took = 10
	for _, c := range []struct {
		name                    string
		sent, answered, reading float64
		cutOff                  bool
		asked                   bool
		want                    float64
	}{
		{"no connection", 0, 0, 0, true, false, 0},
		{"an answer", 1, 3, 3, false, true, 2},
		{"an answer, then a wait for memory", 1, 3, 8, false, true, 2},
		{"no answer", 1, 0, 0, true, true, 9},
		{"no answer for another reason", 1, 0, 0, false, true, 0},
		{"cut off within the page", 1, 3, 3, true, true, 9},
		{"cut off within the page, after a wait for memory", 1, 3, 9.5, true, true, 2.5},
		{"cut off while it waited for memory", 1, 3, 0, true, true, 2},
		{"a late connection", 9.5, 0, 0, true, true, 0.5},
		{"a redirect, then no answer", 4, 3, 3, true, true, 6},
		{"net/http noted the answer before the request", 4, 3.99, 4, false, true, 0},
	} {
		timer := &answerTimer{}
		for m, s := range map[moment]float64{requestSent: c.sent, firstByte: c.answered, bodyRead: c.reading} {
			timer.at[m].Store(int64(s * float64(time.Second)))
		}
		asked, got := timer.answer(took*time.Second, c.cutOff)
		if asked != c.asked || got.Seconds() != c.want {
			t.Errorf("%s: asked %v, took %v, want %v, %v s", c.name, asked, got, c.asked, c.want)
		}
	}
}
