package apiserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// maxHistory is the largest number of changes in the history.
const maxHistory = 10_000

// object is one version of a pod. Immutable.
type object struct {
	pod *corev1.Pod
	raw []byte // its JSON
}

func (o *object) key() string { return o.pod.Namespace + "/" + o.pod.Name }

// change is a step of the history. Immutable.
type change struct {
	version int64
	before  *object // nil: it was added
	after   *object // nil: it was removed
}

// store is the pods and their history. Server.mu guards it.
type store struct {
	version int64
	peak    int64              // the highest version so far; the next change has the one after it
	lost    [][2]int64         // versions after the first and up to the second were taken back
	pods    map[string]*object // by namespace/name
	history []change           // oldest first
	oldest  int64              // watches may begin at this version, not earlier
	pages   []snapshot         // of lists that are read by pages, oldest first
}

// snapshot is the pods of a list at a version.
type snapshot struct {
	version int64
	objects []*object
}

// maxSnapshots is the largest number of snapshots that are kept for lists read by pages.
const maxSnapshots = 8

func encode(pod *corev1.Pod, version int64) *object {
	pod = pod.DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	pod.ResourceVersion = strconv.FormatInt(version, 10)
	raw, err := json.Marshal(pod)
	if err != nil {
		panic(fmt.Sprintf("apiserver: %s: %v", pod.Name, err))
	}
	return &object{pod: pod, raw: raw}
}

func (s *store) advance() {
	s.peak = max(s.peak, s.version) + 1
	s.version = s.peak
}

func (s *store) put(pod *corev1.Pod) {
	s.advance()
	after := encode(pod, s.version)
	s.note(change{version: s.version, before: s.pods[after.key()], after: after})
	s.pods[after.key()] = after
}

// remove returns false if there is no such pod.
func (s *store) remove(key string) bool {
	before := s.pods[key]
	if before == nil {
		return false
	}
	s.advance()
	delete(s.pods, key)
	s.note(change{version: s.version, before: before})
	return true
}

func (s *store) note(c change) {
	s.history = append(s.history, c)
	if len(s.history) > maxHistory {
		half := len(s.history) / 2
		s.oldest = s.history[half-1].version
		s.history = slices.Clone(s.history[half:])
	}
}

func (s *store) compact() {
	s.history, s.oldest, s.pages = nil, s.version, nil
}

// rewind loses the last versions, and the changes with them: pods are as they were. No version is given out again, so
// that a watch from a version that was lost can be answered by 410 Gone.
func (s *store) rewind(versions int) {
	from := s.version
	for ; versions > 0 && len(s.history) > 0; versions-- {
		c := s.history[len(s.history)-1]
		s.history = s.history[:len(s.history)-1]
		s.version = s.oldest
		if len(s.history) > 0 {
			s.version = s.history[len(s.history)-1].version
		}
		if c.before != nil {
			s.pods[c.before.key()] = c.before
		} else {
			delete(s.pods, c.after.key())
		}
	}
	if s.version < from {
		s.lost = append(s.lost, [2]int64{s.version, from})
	}
	s.pages = nil
}

// sorted returns the pods by namespace and name.
func (s *store) sorted() []*object {
	return slices.SortedFunc(maps.Values(s.pods), func(a, b *object) int { return cmp.Compare(a.key(), b.key()) })
}

// clone returns a store that does not change with s.
func (s *store) clone() *store {
	c := *s
	c.pods, c.history, c.pages = maps.Clone(s.pods), slices.Clone(s.history), slices.Clone(s.pages)
	c.lost = slices.Clone(s.lost)
	return &c
}

// changesAfter returns the changes after a version, or false if the history does not reach back so far.
func (s *store) changesAfter(version int64) ([]change, bool) {
	wasLost := func(span [2]int64) bool { return version > span[0] && version <= span[1] }
	if version < s.oldest || slices.ContainsFunc(s.lost, wasLost) {
		return nil, false
	}
	first, _ := slices.BinarySearchFunc(s.history, version+1, func(c change, v int64) int {
		return cmp.Compare(c.version, v)
	})
	return s.history[first:], true
}

// selector says which pods a request is about.
type selector struct {
	namespace string // empty: all
	labels    labels.Selector
	fields    fields.Selector
}

func (s *selector) matches(o *object) bool {
	if o == nil || s.namespace != "" && s.namespace != o.pod.Namespace {
		return false
	}
	return s.labels.Matches(labels.Set(o.pod.Labels)) && s.fields.Matches(fields.Set{
		"metadata.name": o.pod.Name, "metadata.namespace": o.pod.Namespace, "spec.nodeName": o.pod.Spec.NodeName,
		"status.phase": string(o.pod.Status.Phase), "status.podIP": o.pod.Status.PodIP,
	})
}

// event returns the event that a change is for a watch with a selector. raw is nil if the watch does not see the
// change. A pod that was removed or no longer matches is sent as it was before, with the new version.
func (s *selector) event(c *change) (kind string, raw []byte) {
	was, is := s.matches(c.before), s.matches(c.after)
	switch {
	case is && was:
		return "MODIFIED", c.after.raw
	case is:
		return "ADDED", c.after.raw
	case was:
		return "DELETED", encode(c.before.pod, c.version).raw
	}
	return "", nil
}
