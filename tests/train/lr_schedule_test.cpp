#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/train/lr_schedule.hpp>

using lact::train::LrSchedule;

namespace {
constexpr double kExact = 1e-15;  // a few roundings of float64 around 1

LrSchedule schedule(LrSchedule::Shape shape) {
  return {shape, /*peak=*/1.0, /*min_ratio=*/0.1, /*warmup_steps=*/10, /*total_steps=*/110};
}
}  // namespace

TEST_CASE("the warm-up rises in equal steps to the peak, whatever follows", "[train]") {
  for (const auto shape :
       {LrSchedule::Shape::cosine, LrSchedule::Shape::linear, LrSchedule::Shape::constant}) {
    const auto s = schedule(shape);
    for (int64_t step = 0; step < 10; ++step)
      CHECK(s.at(step) == Approx(0.1 * static_cast<double>(step + 1)).margin(kExact));
    CHECK(s.at(10) == Approx(1.0).margin(kExact));
  }
}

TEST_CASE("cosine, linear and constant have the values worked by hand", "[train]") {
  // A quarter, a half and three quarters of the way: cos(pi/4), cos(pi/2), cos(3 pi/4).
  const double root_half = 0.70710678118654752;
  const auto cosine = schedule(LrSchedule::Shape::cosine);
  CHECK(cosine.at(35) == Approx(0.1 + 0.9 * 0.5 * (1 + root_half)).margin(kExact));
  CHECK(cosine.at(60) == Approx(0.55).margin(kExact));
  CHECK(cosine.at(85) == Approx(0.1 + 0.9 * 0.5 * (1 - root_half)).margin(kExact));
  CHECK(cosine.at(110) == Approx(0.1).margin(kExact));
  const auto linear = schedule(LrSchedule::Shape::linear);
  CHECK(linear.at(35) == Approx(0.775).margin(kExact));
  CHECK(linear.at(60) == Approx(0.55).margin(kExact));
  CHECK(linear.at(109) == Approx(0.109).margin(kExact));
  CHECK(schedule(LrSchedule::Shape::constant).at(109) == 1.0);
}

TEST_CASE("a schedule that is stable falls over its last steps alone", "[train]") {
  LrSchedule schedule;
  schedule.shape = LrSchedule::Shape::wsd;
  schedule.peak = 2;
  schedule.min_ratio = 0;
  schedule.warmup_steps = 10;
  schedule.total_steps = 100;
  schedule.decay_ratio = 0.2;
  CHECK(schedule.at(4) == Approx(1));
  for (const int64_t step : {10, 50, 80}) CHECK(schedule.at(step) == Approx(2));
  CHECK(schedule.at(90) == Approx(1));
  CHECK(schedule.at(99) == Approx(0.1));
}

TEST_CASE("after its end a schedule stays at its lowest rate", "[train]") {
  CHECK(schedule(LrSchedule::Shape::cosine).at(100000) == Approx(0.1).margin(kExact));
  CHECK(schedule(LrSchedule::Shape::linear).at(100000) == Approx(0.1).margin(kExact));
}

TEST_CASE("a warm-up longer than the run never reaches the peak and never divides by zero",
          "[train]") {
  const LrSchedule s{LrSchedule::Shape::cosine, 1.0, 0.1, /*warmup_steps=*/50, /*total_steps=*/20};
  CHECK(s.at(19) == Approx(0.4).margin(kExact));
  CHECK(std::isfinite(s.at(50)));
}

TEST_CASE("an unknown schedule is refused with the list", "[train]") {
  CHECK(LrSchedule::shape_from("linear") == LrSchedule::Shape::linear);
  try {
    LrSchedule::shape_from("cosin");
    FAIL("accepted");
  } catch (const lact::Error& error) {
    CHECK(error.code() == lact::Exit::usage);
    CHECK_THAT(error.what(), Catch::Contains("cosine, linear, constant or wsd"));
  }
}
