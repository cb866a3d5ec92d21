# Times mixsqp on a matrix of probabilities read from a file (float64, column-major); reading is not timed.
# Rscript mixsqp.R matrix weights n K repeats limit tolerance...  ->  one line a tolerance: tolerance seconds w_1 .. w_K
suppressMessages(library(mixsqp))
args <- commandArgs(trailingOnly = TRUE)
n <- as.integer(args[3])
k <- as.integer(args[4])
repeats <- as.integer(args[5])
limit <- as.numeric(args[6])
L <- matrix(readBin(args[1], "double", n * k), n, k)
w <- readBin(args[2], "double", n)
began <- proc.time()[["elapsed"]]
for (tol in as.numeric(args[-(1:6)])) {
  # tol.svd = 0: the low-rank step it takes by default costs more than it saves on these problems. eps, added to every
  # probability, is 1e-8 by default, which alone keeps the gap above 1e-8; the time is the same without it.
  control <- list(convtol.sqp = tol, tol.svd = 0, eps = 1e-14, verbose = FALSE)
  times <- c()
  for (i in seq_len(repeats)) {
    time <- system.time(fit <- suppressWarnings(mixsqp(L, w, control = control)), gcFirst = FALSE)[["elapsed"]]
    if (time < 0.05) { # the clock has milliseconds
      time <- system.time(for (j in 1:20) suppressWarnings(mixsqp(L, w, control = control)))[["elapsed"]] / 20
    }
    times <- c(times, time)
    if (sum(times) > limit / 4) break
  }
  cat(tol, median(times), format(fit$x, digits = 17), "\n")
  if (proc.time()[["elapsed"]] - began > limit) break
}
