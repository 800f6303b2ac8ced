/** Prints nanoseconds per availableProcessors(), the best of ten rounds. */
public class Calls {
	public static void main(String[] args) {
		double best = Double.MAX_VALUE;
		long sum = 0;
		for (int round = 0; round < 10; round++) {
			long start = System.nanoTime();
			for (int i = 0; i < 500_000; i++)
				sum += Runtime.getRuntime().availableProcessors();
			best = Math.min(best, (System.nanoTime() - start) / 500_000.0);
		}
		System.out.println(sum > 0 ? best : -1);
	}
}
