package show

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mesh returns pods of which only the names and the workload are set.
func mesh(names ...string) (pods []Pod) {
	for _, name := range names {
		name, workload, _ := strings.Cut(name, " ")
		namespace, pod, _ := strings.Cut(name, "/")
		pods = append(pods, Pod{Namespace: namespace, Name: pod, Workload: workload})
	}
	return pods
}

func namesOf(pods []Pod) (names []string) {
	for _, p := range pods {
		names = append(names, p.FullName())
	}
	return names
}

func TestFind(t *testing.T) {
	pods := mesh(
		"shop/cart-0 StatefulSet/cart", "shop/cart-1 StatefulSet/cart", "pay/cart-0 StatefulSet/cart",
		"shop/reviews-v1-7f9c-abcde ReplicaSet/reviews-v1-7f9c",
		"shop/reviews-v2-55d4-fghij ReplicaSet/reviews-v2-55d4",
		"shop/unknown-7f9c-abcde", "shop/nightly-29-x2x2x Job/nightly-29", "shop/a.b-0", "job/alone",
	)
	for _, c := range []struct {
		name, namespace string
		want            []string
	}{
		{"shop/cart-0", "", []string{"shop/cart-0"}},
		{"cart-0.shop", "", []string{"shop/cart-0"}},
		{"pod/cart-1", "", []string{"shop/cart-1"}},
		{"po/cart-0.pay", "", []string{"pay/cart-0"}},
		{"cart-0", "", []string{"shop/cart-0", "pay/cart-0"}},
		{"cart-0", "pay", []string{"pay/cart-0"}},
		{"a.b-0", "", []string{"shop/a.b-0"}},
		{"a.b-0.shop", "", []string{"shop/a.b-0"}},
		{"sts/cart", "shop", []string{"shop/cart-0", "shop/cart-1"}},
		{"deploy/reviews-v1", "", []string{"shop/reviews-v1-7f9c-abcde"}},
		{"deployment.apps/reviews-v1", "", []string{"shop/reviews-v1-7f9c-abcde"}},
		{"replicasets/reviews-v2-55d4", "", []string{"shop/reviews-v2-55d4-fghij"}},
		{"Deploy/unknown", "", []string{"shop/unknown-7f9c-abcde"}},
		{"cj/nightly", "", []string{"shop/nightly-29-x2x2x"}},
		{"job/nightly-29", "", []string{"shop/nightly-29-x2x2x"}},
		{"job/alone", "", []string{"job/alone"}}, // a namespace that is called like a kind
		{"ns/pay", "", []string{"pay/cart-0"}},
		{"", "pay", []string{"pay/cart-0"}},
		{"cart", "", nil},
		{"shop/", "", nil},
		{"sts/", "", nil},
		{"shop/cart-0", "pay", nil},
	} {
		if got := namesOf(Find(pods, c.name, c.namespace)); !slices.Equal(got, c.want) {
			t.Errorf("Find(%q, %q) = %v, want %v", c.name, c.namespace, got, c.want)
		}
	}
	if got := Find(pods, "", ""); len(got) != len(pods) {
		t.Errorf("without a name: %d pods", len(got))
	}
}

func TestNearest(t *testing.T) {
	pods := mesh("shop/cart-0", "shop/cart-1", "pay/card-0", "shop/reviews-v1-7f9c-abcde")
	for name, want := range map[string][]string{
		"crt-0":           {"shop/cart-0", "pay/card-0", "shop/cart-1"},
		"shop/cart-2":     {"shop/cart-0", "shop/cart-1"},
		"pod/cart-00":     {"shop/cart-0", "pay/card-0", "shop/cart-1"},
		"deploy/reviews":  {"shop/reviews-v1-7f9c-abcde"},
		"something-else0": {},
	} {
		if got := Nearest(pods, name); !slices.Equal(got, want) {
			t.Errorf("Nearest(%q) = %v, want %v", name, got, want)
		}
	}
	var many []Pod
	for i := range 100 {
		many = append(many, Pod{Namespace: "shop", Name: fmt.Sprint("cart-", i)})
	}
	if got := Nearest(many, strings.Repeat("cart-", 10_000)); len(got) > maxNearest {
		t.Errorf("%d names", len(got))
	}
	if got := Nearest(many, "cart-"); len(got) != maxNearest {
		t.Errorf("%d names, want %d", len(got), maxNearest)
	}
}

func TestFullName(t *testing.T) {
	for _, c := range [][3]string{
		{"shop/cart-0", "", "shop/cart-0"}, {"cart-0.shop", "", "shop/cart-0"}, {"pod/cart-0", "shop", "shop/cart-0"},
		{"pod/cart-0.shop", "", "shop/cart-0"}, {"cart-0", "shop", "shop/cart-0"}, {"a.b", "shop", "shop/a.b"},
		{"cart-0", "", ""}, {"", "shop", ""}, {"deploy/cart", "shop", ""}, {"ns/shop", "", ""},
	} {
		if got := FullName(c[0], c[1]); got != c[2] {
			t.Errorf("FullName(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
