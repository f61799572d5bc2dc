import csv
import io
import json

from results import result

from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv, as_json, full
from prunecli.report.tables.table import as_text

DENSE = result(None, 1.0, top1=95.0)


def test_csv_and_json_hold_the_same_numbers():
    rows = grouped([DENSE, result(top1=80.0), result(top1=90.0, seed=1)])
    from_csv = list(csv.DictReader(io.StringIO(as_csv(rows))))
    from_json = json.loads(as_json(rows))
    assert [float(line["top1"]) for line in from_csv] == [95, 85]
    assert [line["top1"] for line in from_json] == [95, 85]
    assert [line["method"] for line in from_csv] == ["dense", "lamp"]


def test_the_table_is_aligned_and_says_the_spread():
    text = as_text(full(grouped([DENSE, result(top1=80.0), result(top1=90.0, seed=1)])))
    header, dense, lamp = text.splitlines()
    columns = "model data method r r reached sparsity % weights top-1 % top-5 % FLOPs dead seeds"
    assert header.split() == columns.split()
    assert "85.00 ± 7.07" in lamp
    assert "95.00  " in dense
    assert "25.0%" in lamp
    assert header.index("seeds") + 5 == len(dense) == len(lamp)


def test_a_number_below_zero_stays_one():
    [own] = csv.DictReader(as_csv(grouped([result(compression_error=-0.25)])).splitlines())
    assert own["compression_error"] == "-0.25"


def flops_of(*results):
    return [line.split()[-3] for line in as_text(full(grouped(results))).splitlines()[1:]]


def narrow(thin, flops):
    more = {"model_options": {"thin": thin}, "flops_dense": flops, "flops_sparse": flops}
    return result(None, 1.0, **more)


def test_operations_are_relative_to_the_full_network():
    whole = result(None, 1.0, flops_sparse=2000)
    assert flops_of(whole, narrow(0.1, 200), result()) == ["100.0%", "10.0%", "25.0%"]


def test_without_a_full_network_a_dense_one_has_no_share_of_its_operations():
    lines = as_text(full(grouped([narrow(0.1, 200), narrow(0.5, 900)]))).splitlines()[1:]
    assert all("%" not in line for line in lines)
    assert flops_of(result()) == ["25.0%"]


def test_weights_and_sparsity_are_counted_over_what_is_left():
    [_, line] = as_text(full(grouped([result(density=0.125, nonzero=1234567)]))).splitlines()
    assert line.split()[5:7] == ["87.50", "1,234,567"]
