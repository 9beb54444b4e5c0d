// Command gitops says what three tools make of objects: kstatus by its own library, a Flux
// Kustomization's healthCheckExprs by Flux's evaluator, and an Argo CD health script by the Lua that
// Argo CD runs.
//
// It reads {"objects": [...], "flux": {"current": ..., ...}, "argo": "script"} from standard input and
// writes one {"kstatus": ..., "flux": ..., "argo": ..., "message": ...} for each object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type input struct {
	Objects []unstructured.Unstructured      `json:"objects"`
	Flux    kustomize.HealthCheckExpressions `json:"flux"`
	Argo    string                           `json:"argo"`
}

type verdict struct {
	Kstatus string `json:"kstatus"`
	Flux    string `json:"flux"`
	Argo    string `json:"argo"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	evaluator, err := cel.NewStatusEvaluator(&given.Flux)
	if err != nil {
		return err
	}
	verdicts := []verdict{}
	for _, object := range given.Objects {
		found, err := judge(&object, evaluator, given.Argo)
		if err != nil {
			return fmt.Errorf("%s: %w", object.GetName(), err)
		}
		verdicts = append(verdicts, found)
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func judge(object *unstructured.Unstructured, flux *cel.StatusEvaluator, script string) (verdict, error) {
	own, err := status.Compute(object)
	if err != nil {
		return verdict{}, err
	}
	evaluated, err := flux.Evaluate(context.Background(), object)
	if err != nil {
		return verdict{}, err
	}
	health, err := argo(object, script)
	if err != nil {
		return verdict{}, err
	}
	return verdict{
		Kstatus: own.Status.String(),
		Flux:    evaluated.Status.String(),
		Argo:    lua.LVAsString(health.RawGetString("status")),
		Message: lua.LVAsString(health.RawGetString("message")),
	}, nil
}

// argo runs the script as Argo CD does: with the base, table and string libraries only, and the
// object as the global obj.
func argo(object *unstructured.Unstructured, script string) (*lua.LTable, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString} {
		state.Push(state.NewFunction(open))
		state.Call(0, 0)
	}
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the health script returned %s, not a table", state.Get(-1).Type())
	}
	return health, nil
}

func value(state *lua.LState, from any) lua.LValue {
	switch typed := from.(type) {
	case bool:
		return lua.LBool(typed)
	case int64:
		return lua.LNumber(typed)
	case float64:
		return lua.LNumber(typed)
	case string:
		return lua.LString(typed)
	case []any:
		table := state.NewTable()
		for _, item := range typed {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for name, item := range typed {
			table.RawSetString(name, value(state, item))
		}
		return table
	}
	return lua.LNil
}
