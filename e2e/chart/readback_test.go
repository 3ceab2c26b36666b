package chart

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// testReadBack checks that the API server stores every rendered field with its value.
func (w *world) testReadBack(t *testing.T, r *rendered, file string) {
	t.Helper()
	out := w.kubectl(t, w.kubeconfig, "get", "-f", file, "-o", "json")
	var kept unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(out), &kept); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if len(kept.Items) != len(r.objects) {
		t.Fatalf("%d objects are stored, %d were rendered", len(kept.Items), len(r.objects))
	}
	for i, want := range r.objects {
		name := want.GetKind() + " " + want.GetName()
		for _, difference := range missing(name, want.Object, kept.Items[i].Object) {
			t.Error(difference)
		}
	}
}

// missing returns every field of want that got lacks or has with another value. Fields that only got has, such as
// defaults, and fields that are null in want are ignored.
func missing(path string, want, got any) (differences []string) {
	switch want := want.(type) {
	case nil:
	case map[string]any:
		has, ok := got.(map[string]any)
		if !ok && len(want) > 0 {
			return []string{fmt.Sprintf("%s: is %v, want %v", path, got, want)}
		}
		for key, value := range want {
			differences = append(differences, missing(path+"."+key, value, has[key])...)
		}
	case []any:
		has, _ := got.([]any)
		if len(has) != len(want) {
			return []string{fmt.Sprintf("%s: is %v, want %v", path, got, want)}
		}
		for i, value := range want {
			differences = append(differences, missing(fmt.Sprintf("%s[%d]", path, i), value, has[i])...)
		}
	default:
		if !reflect.DeepEqual(want, got) && fmt.Sprint(want) != fmt.Sprint(got) && !sameQuantity(want, got) {
			return []string{fmt.Sprintf("%s: is %v, want %v", path, got, want)}
		}
	}
	return differences
}

// sameQuantity reports whether two values are the same Kubernetes quantity. The API server writes 1024Mi as 1Gi.
func sameQuantity(a, b any) bool {
	x, errX := resource.ParseQuantity(fmt.Sprint(a))
	y, errY := resource.ParseQuantity(fmt.Sprint(b))
	return errX == nil && errY == nil && x.Cmp(y) == 0
}
