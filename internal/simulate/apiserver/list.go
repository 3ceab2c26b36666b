package apiserver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const expired = "The resourceVersion for the provided watch is too old."

// get sends one pod.
func (s *Server) get(out *output, key string) {
	s.mu.Lock()
	o := s.shown().pods[key]
	s.mu.Unlock()
	if o == nil {
		out.status(http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("pods %q not found", key))
		return
	}
	out.json(http.StatusOK, o.raw)
}

// list sends a list, or a page of one.
func (s *Server) list(out *output, r *http.Request, sel selector) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	s.mu.Lock()
	shown := s.shown()
	snap, next, ok := shown.snapshotFor(q.Get("continue"))
	var problem func()
	if !ok {
		problem = func() { out.status(http.StatusGone, metav1.StatusReasonExpired, expired) }
	} else if wanted, _ := strconv.ParseInt(q.Get("resourceVersion"), 10, 64); wanted > shown.version {
		problem = out.tooLarge
	}
	var items [][]byte
	more, rest := "", 0
	if problem == nil {
		matching := slices.DeleteFunc(slices.Clone(snap.objects), func(o *object) bool {
			return o.key() < next || !sel.matches(o)
		})
		if limit > 0 && len(matching) > limit {
			more = fmt.Sprintf("%d %s", snap.version, matching[limit].key())
			rest = len(matching) - limit
			matching = matching[:limit]
			shown.keep(snap)
		}
		for _, o := range matching {
			items = append(items, o.raw)
		}
	}
	s.mu.Unlock()
	if problem != nil {
		problem()
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"%d"`, snap.version)
	if more != "" {
		token := base64.RawURLEncoding.EncodeToString([]byte(more))
		fmt.Fprintf(&b, `,"continue":%q,"remainingItemCount":%d`, token, rest)
	}
	b.WriteString(`},"items":[`)
	for i, raw := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(raw)
	}
	b.WriteString("]}")
	out.json(http.StatusOK, []byte(b.String()))
}

// snapshotFor returns the pods of a list, and the key at which its next page begins. It returns false if the list
// has expired.
func (s *store) snapshotFor(token string) (snap snapshot, next string, ok bool) {
	if token == "" {
		return snapshot{version: s.version, objects: s.sorted()}, "", true
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return snap, "", false
	}
	version, next, _ := strings.Cut(string(text), " ")
	for _, kept := range s.pages {
		if strconv.FormatInt(kept.version, 10) == version {
			return kept, next, true
		}
	}
	return snap, "", false
}

// keep keeps a snapshot for the next pages.
func (s *store) keep(snap snapshot) {
	for _, kept := range s.pages {
		if kept.version == snap.version {
			return
		}
	}
	s.pages = append(s.pages, snap)
	if len(s.pages) > maxSnapshots {
		s.pages = slices.Clone(s.pages[1:])
	}
}
